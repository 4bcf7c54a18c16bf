import { createServer } from 'node:http';
import { hostname } from 'node:os';
import process from 'node:process';

// Says who answered, and from where the request seems to come: from the sidecar beside it.
const server = createServer((request, response) => {
  const body = request.url === '/healthz' ? { status: 'ok' } : { pod: hostname(), from: request.socket.remoteAddress };
  response.writeHead(200, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
});
server.listen(8080, () => console.log('api listens on 8080'));
process.on('SIGTERM', () => {
  server.close();
  server.closeIdleConnections();
});
