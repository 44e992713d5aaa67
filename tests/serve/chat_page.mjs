// The chat page of a server in headless Chromium: chat_page.mjs MODULES_FOLDER PORT PYTHON FOLDER MESSAGE…
// starts the server, sends the messages with temperature 0, and prints the lines of the page.
import {spawn} from 'node:child_process';
import {openBrowser} from '../export/clients/web/browser.mjs';

const [modules, port, python, folder, ...messages] = process.argv.slice(2);
const base = `http://127.0.0.1:${port}`;
const server = spawn(python, ['-m', 'keras_plm', 'serve', folder, '--port', port], {stdio: ['ignore', 2, 2]});
for (;;) {
  try {
    await fetch(`${base}/healthz`);
    break;
  } catch {
    if (server.exitCode !== null) throw new Error('the server has ended');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
const {page, close} = await openBrowser(modules, base);
await page.route('**/v1/chat/completions', (route) => {
  const body = {...JSON.parse(route.request().postData()), temperature: 0, max_tokens: 9};
  return route.continue({postData: JSON.stringify(body)});
});
await page.goto('/chat');
await page.waitForSelector('#model option', {state: 'attached'});
for (const [number, message] of messages.entries()) {
  await page.fill('#text', message);
  const answer = page.waitForResponse('**/v1/chat/completions');
  await page.click('button');
  await (await answer).finished();
  await page.waitForFunction(`messages.length === ${2 * number + 2}`);
}
const lines = await page.$$eval('#messages p', (found) => found.map((line) => [line.className, line.textContent]));
await close();
server.kill();
console.log(JSON.stringify(lines));
