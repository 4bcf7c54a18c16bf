/**
 * Opens one connection to `host:port` and passes lines between it and the standard streams until either side ends. How
 * the connection ends is the last line: `closed`, or the code of its error.
 */
import { connect } from 'node:net';
import { splitHostPort } from '../../../src/addresses.ts';

const { host, port } = splitHostPort(process.argv[2] ?? '') ?? { host: '', port: 0 };
const socket = connect({ host, port });
socket.on('error', (error: NodeJS.ErrnoException) => process.stdout.write(`${error.code}\n`));
socket.on('end', () => process.stdout.write('closed\n'));
socket.pipe(process.stdout, { end: false });
process.stdin.pipe(socket);
socket.once('close', () => process.exit());
