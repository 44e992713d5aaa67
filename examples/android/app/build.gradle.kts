plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.kerasplm.reviews"
    compileSdk = 35
    defaultConfig {
        applicationId = "org.kerasplm.reviews"
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
    }
    // MediaPipe maps the model from the package, which it cannot if the package has compressed it
    androidResources { noCompress += "tflite" }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
}

dependencies {
    // pinned: MediaPipe's Python package sends figures of use to its maker from 0.10.35 on; this one was not examined
    implementation("com.google.mediapipe:tasks-text:0.10.26")
}
