/** Listens on `host:port` with SO_REUSEPORT, as a process does that means to share, or to steal, a port; prints `ready`. */
import { createServer } from 'node:net';
import { splitHostPort } from '../../../src/addresses.ts';

const { host, port } = splitHostPort(process.argv[2] ?? '') ?? { host: '', port: 0 };
createServer().listen({ host, port, reusePort: true }, () => process.stdout.write('ready\n'));
