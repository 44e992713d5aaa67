// The page of examples/web in headless Chromium: example.mjs MODULES_FOLDER PAGE_FOLDER MODELS_FOLDER TEXT QUESTION CONTEXT
// prints what it shows.
import {openExample} from './browser.mjs';

const [modules, folder, models, text, question, context] = process.argv.slice(2);
const {page, close} = await openExample(modules, folder, models);
await page.goto('/index.html');
await page.waitForFunction("document.body.dataset.ready === 'yes'");
const shown = async (output) => ({text: await page.innerText(output), html: await page.innerHTML(output)});
await page.fill('#text', text);
await page.fill('#question', question);
await page.fill('#context', context);
await page.waitForFunction("!document.querySelector('[aria-busy=true]')"); // it answers as it is typed
const answers = {labels: await shown('#labels'), answer: await shown('#answer')};
await close();
console.log(JSON.stringify(answers));
