// The page of examples/web in headless Chromium: example.mjs MODULES_FOLDER PAGE_FOLDER MODELS_FOLDER TEXT QUESTION CONTEXT
// prints what it shows. The content network is served from MODULES_FOLDER; a request to another host fails.
import path from 'node:path';
import {openPage} from './browser.mjs';

const [modules, folder, models, text, question, context] = process.argv.slice(2);
const network = 'https://cdn.jsdelivr.net/npm/';
const local = (name) => name.replace(/^(@?[^@]+)@[^/]+/, '$1'); // without the version
const {page, close} = await openPage(modules, (name) => {
  if (name.startsWith('/node_modules/')) return path.join(modules, name);
  return path.join(/^\/(classifier|reader)\//.test(name) ? models : folder, name);
});
await page.route(`${network}**`, (route) => {
  const name = local(route.request().url().slice(network.length));
  return route.fulfill({
    path: path.join(modules, 'node_modules', name),
    headers: {
      'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin',
      'content-type': name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript',
    },
  });
});
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
