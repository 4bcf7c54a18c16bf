/**
 * Dials every `host:port` given, one after the other, and prints one line of JSON each: where it landed, as the listener
 * says it, or how it failed. Options before the first target: `--mark N`, `--device NAME`, `--from IP`,
 * `--deadline MS`.
 */
import { connect } from 'node:net';
import koffi from 'koffi';
import { splitHostPort } from '../../../src/addresses.ts';
import { socketBoundTo } from '../../../src/libc.ts';

/** Long enough for a loaded machine, and only waited for in full where nothing answers. */
const defaultDeadlineMs = '1500';
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const SO_MARK = 36;

const options: Record<string, string> = {};
const targets = process.argv.slice(2);
while (targets[0]?.startsWith('--')) {
  const [option = '', value = ''] = targets.splice(0, 2);
  options[option.slice(2)] = value;
}

function openSocket(host: string, port: number) {
  const { mark, device, from } = options;
  if (mark === undefined && device === undefined)
    return connect({ host, port, ...(from !== undefined && { localAddress: from }) });
  const socket = socketBoundTo(host.includes(':') ? '::' : '0.0.0.0');
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  if (mark !== undefined) setOption(fd, SO_MARK, new Uint8Array(new Int32Array([Number(mark)]).buffer));
  if (device !== undefined) setOption(fd, SO_BINDTODEVICE, Buffer.from(`${device}\0`));
  return socket.connect({ host, port });
}

function setOption(fd: number, name: number, value: Uint8Array): void {
  const setsockopt = koffi
    .load(null)
    .func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)');
  if (setsockopt(fd, SOL_SOCKET, name, value, value.length) !== 0)
    throw new Error(`setsockopt(${name}) failed with errno ${koffi.errno()}`);
}

function dial(target: string): Promise<unknown> {
  const { host = '', port = 0 } = splitHostPort(target) ?? {};
  return new Promise((resolve) => {
    const socket = openSocket(host, port);
    const timer = setTimeout(() => finish({ failed: 'timeout' }), Number(options.deadline ?? defaultDeadlineMs));
    const finish = (result: object) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ target, ...result });
    };
    let text = '';
    socket.on('error', (error: NodeJS.ErrnoException) => finish({ failed: error.code }));
    socket.on('end', () => finish({ failed: 'closed' }));
    socket.on('data', (chunk) => {
      text += chunk.toString();
      if (text.includes('\n')) finish(JSON.parse(text));
    });
  });
}

for (const target of targets) process.stdout.write(`${JSON.stringify(await dial(target))}\n`);
