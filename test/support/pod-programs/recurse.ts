import { connect, createServer } from 'node:net';

/* An application that answers each connection by calling itself at another address. `recurse.ts PORT ADDRESS`. */
const [portText = '', host = ''] = process.argv.slice(2);
const port = Number(portText);
createServer((socket) => {
  const next = connect({ host, port });
  for (const [one, other] of [
    [socket, next],
    [next, socket],
  ] as const) {
    one.on('error', () => other.resetAndDestroy());
    one.pipe(other);
  }
}).listen({ host: '0.0.0.0', port }, () => console.log('ready'));
