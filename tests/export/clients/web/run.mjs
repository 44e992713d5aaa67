// Headless Chromium against page.html: run.mjs MODULES_FOLDER ROWS_FOLDER FUNCTION …   prints JSON
// ROWS_FOLDER has rows.json, model.tflite and model.onnx; MODULES_FOLDER has node_modules. Names requests to other hosts,
// and what was running then.
import path from 'node:path';
import {openPage} from './browser.mjs';

const [modules, rows, ...functions] = process.argv.slice(2);
const {page, base, close} = await openPage(modules, (name) =>
  path.join(name.startsWith('/node_modules/') ? modules : name === '/page.html' ? import.meta.dirname : rows, name));
const others = [];
let running = 'page';
page.on('request', (request) => {
  if (![base, 'blob:', 'data:'].some((prefix) => request.url().startsWith(prefix))) others.push([running, request.url()]);
});
await page.goto('/page.html');
await page.waitForFunction('window.ready');
const answers = {};
for (const name of functions) {
  running = name;
  answers[name] = await page.evaluate(`window.${name}()`);
}
await close();
console.log(JSON.stringify({answers, others}));
