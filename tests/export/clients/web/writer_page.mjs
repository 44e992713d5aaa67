// examples/web/writer.html in headless Chromium: writer_page.mjs MODULES_FOLDER PAGE_FOLDER MODELS_FOLDER PROMPT
// prints the prompt and the text that it writes with temperature 0.
import {openExample} from './browser.mjs';

const [modules, folder, models, prompt] = process.argv.slice(2);
const {page, close} = await openExample(modules, folder, models);
await page.goto('/writer.html');
await page.waitForFunction("document.body.dataset.ready === 'yes'");
await page.fill('#prompt', prompt);
await page.fill('#temperature', '0');
await page.click('#write');
await page.waitForSelector('#write:not([disabled])');
const found = {bold: await page.textContent('#text b'), text: await page.textContent('#text')};
await close();
console.log(JSON.stringify(found));
