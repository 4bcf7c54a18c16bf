import { readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer as createTlsServer } from 'node:https';

/*
 * An application with a health of its own: by HTTP on 8080 for whoever knows the header, by HTTPS on 8443, by gRPC on
 * 9000. SIGUSR2 makes it fail, and the next one well again; it prints which.
 */
let isWell = true;
const answer: RequestListener = ({ url }, response) => {
  response.writeHead(url === '/healthz' && isWell ? 200 : 500).end();
};
const http = createServer((request, response) => {
  if (request.headers['x-probe'] === 'let me in') answer(request, response);
  else response.writeHead(403).end();
});
const [key, cert] = ['key.pem', 'certificate.pem'].map((name) => readFileSync(`/etc/certificate/${name}`));
const https = createTlsServer({ key, cert }, answer);
const grpc = createHttp2Server();
grpc.on('stream', (stream, { ':path': path }) => {
  if (path !== '/grpc.health.v1.Health/Check') return stream.close();
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  // A HealthCheckResponse: SERVING or NOT_SERVING.
  stream.end(Buffer.from([0, 0, 0, 0, 2, 8, isWell ? 1 : 2]));
});

let listening = 0;
for (const [server, port] of [
  [http, 8080],
  [https, 8443],
  [grpc, 9000],
] as const) {
  server.listen(port, '::', () => {
    listening += 1;
    if (listening === 3) console.log('ready');
  });
}
process.on('SIGUSR2', () => {
  isWell = !isWell;
  console.log(isWell ? 'well' : 'ill');
});
process.on('SIGTERM', () => process.exit());
