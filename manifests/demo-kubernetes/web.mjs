import { createServer } from 'node:http';
import process from 'node:process';

// Calls api once a second, in plain HTTP, and says what came of it.
const url = process.env.API ?? 'http://localhost:8081/';
const seen = { sent: 0, ok: 0, last: '' };

async function callApi() {
  seen.sent += 1;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    seen.last = `${response.status} ${(await response.text()).trim()}`;
    if (response.ok) seen.ok += 1;
  } catch (error) {
    seen.last = String(error.cause?.code ?? error.cause?.message ?? error.message);
  }
  console.log(`${seen.ok} of ${seen.sent} requests were answered; the last one: ${seen.last}`);
}

const server = createServer((request, response) => {
  const body = request.url === '/healthz' ? { status: 'ok' } : seen;
  response.writeHead(200, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
});
server.listen(8080, () => console.log(`web listens on 8080 and calls ${url}`));
const timer = setInterval(callApi, 1_000);
process.on('SIGTERM', () => {
  clearInterval(timer);
  server.close();
  server.closeIdleConnections();
});
