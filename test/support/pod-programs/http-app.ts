import { createServer } from 'node:http';

/*
 * An ordinary HTTP application on port 8080: 200 at /healthz, metrics at /metrics, no answer at /hold, 500 anywhere else. Prints `ready`, then one JSON line for
 * each request.
 */
const addresses = process.argv.slice(2);
let listening = 0;
for (const host of addresses) {
  const server = createServer((request, response) => {
    const { url, headers, socket } = request;
    console.log(JSON.stringify({ url, agent: headers['user-agent'], peer: socket.remoteAddress }));
    if (url === '/metrics') response.setHeader('content-type', 'text/plain').end('app_up 1\n');
    else if (url !== '/hold') response.writeHead(url === '/healthz' ? 200 : 500).end();
  });
  server.listen({ host, port: 8080, ipv6Only: true }, () => {
    listening += 1;
    if (listening === addresses.length) console.log('ready');
  });
}
