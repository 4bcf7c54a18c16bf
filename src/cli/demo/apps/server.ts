/**
 * An ordinary application: answers HTTP on one port and echoes TCP on another. It knows nothing of a mesh.
 *
 *   node server.ts HTTP_PORT ECHO_PORT [HOST]
 *
 * Every answer repeats what was sent. Prints `{"listening":true}` when it does, and ends on SIGTERM.
 */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';

const [httpPort, echoPort, host] = process.argv.slice(2);

const web = createHttpServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  response.write(`${request.method} ${request.url}\n`);
  request.pipe(response);
});

const echo = createTcpServer((socket) => {
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
});

process.once('SIGTERM', () => process.exit(0));
web.listen(Number(httpPort), host);
echo.listen(Number(echoPort), host);
await Promise.all([once(web, 'listening'), once(echo, 'listening')]);
process.stdout.write('{"listening":true}\n');
