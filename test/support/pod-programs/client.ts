import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';

/*
 * An ordinary TCP client that knows nothing of the mesh. `client.ts MANNER HOST PORT [NUMBER [TEXT]]`; prints one JSON line.
 */
const [manner = '', host = '', portText = '', numberText = '1', text = 'hello'] = process.argv.slice(2);
const port = Number(portText);
const number = Number(numberText);

async function dial(): Promise<Socket> {
  const socket = connect({ host, port, allowHalfOpen: true });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** What came, and whether it ended or was cut. */
async function read(socket: Socket): Promise<{ text: string; ended: string }> {
  let text = '';
  let ended = 'close';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.once('end', () => {
    ended = 'end';
  });
  socket.once('error', (error: NodeJS.ErrnoException) => {
    ended = error.code ?? error.message;
  });
  await Promise.race([once(socket, 'close').catch(() => undefined), once(socket, 'end').catch(() => undefined)]);
  return { text, ended };
}

const manners: Record<string, () => Promise<unknown>> = {
  /** Says one thing and reads to the end. */
  async ask() {
    const socket = await dial();
    socket.end(text);
    return read(socket);
  },
  /** Says one thing, keeps its side open, and reads to the end. */
  async wait() {
    const socket = await dial();
    socket.write('hello');
    return read(socket);
  },
  /** Says nothing until the server has spoken. */
  async listen() {
    const socket = await dial();
    const [greeting] = await once(socket, 'data');
    const answer = read(socket);
    socket.end('hello');
    return { greeting: String(greeting), ...(await answer) };
  },
  /** So many short connections, 50 at a time; how many echoes were right. */
  async short() {
    let right = 0;
    const failures: Record<string, number> = {};
    for (let done = 0; done < number; done += 50) {
      const round = Array.from({ length: Math.min(50, number - done) }, async (_, index) => {
        const text = `ping ${done + index}`;
        try {
          const socket = await dial();
          socket.end(text);
          const answer = await read(socket);
          if (answer.text === text && answer.ended === 'end') right += 1;
          else failures[answer.ended] = (failures[answer.ended] ?? 0) + 1;
        } catch (error) {
          const code = String((error as NodeJS.ErrnoException).code);
          failures[code] = (failures[code] ?? 0) + 1;
        }
      });
      await Promise.all(round);
    }
    return { right, failures };
  },
  /** Sends so many bytes; whether the hash that comes back is theirs. */
  async upload() {
    const bytes = randomBytes(number);
    const socket = await dial();
    socket.end(bytes);
    console.log(JSON.stringify({ started: true }));
    const { text, ended } = await read(socket);
    return { isEqual: text.trim() === createHash('sha256').update(bytes).digest('hex'), ended };
  },
  /** Asks for so many bytes; whether their hash is the one that follows them. */
  async download() {
    const socket = await dial();
    socket.write(String(number));
    socket.once('data', () => console.log(JSON.stringify({ started: true })));
    const all = await buffer(socket);
    const bytes = all.subarray(0, -64);
    return {
      isEqual: all.subarray(-64).toString() === createHash('sha256').update(bytes).digest('hex'),
      bytes: bytes.length,
    };
  },
  /** Asks for so many bytes, and reads on from the first of them only when a line comes from standard input. */
  async slow() {
    const socket = await dial();
    socket.write(String(number));
    await once(socket, 'readable');
    const first: Buffer = socket.read();
    console.log(JSON.stringify({ started: true }));
    await once(createInterface({ input: process.stdin }), 'line');
    const all = Buffer.concat([first, await buffer(socket)]);
    const bytes = all.subarray(0, -64);
    return {
      isEqual: all.subarray(-64).toString() === createHash('sha256').update(bytes).digest('hex'),
      bytes: bytes.length,
    };
  },
  /** Opens so many connections, says one thing on each, and leaves them open until standard input ends. */
  async idle() {
    const sockets: Socket[] = [];
    for (let opened = 0; opened < number; opened += 1) {
      const socket = await dial();
      socket.write('hello');
      await once(socket, 'data');
      sockets.push(socket);
    }
    console.log(JSON.stringify({ started: true }));
    await once(process.stdin.resume(), 'end');
    return { open: sockets.filter(({ readyState }) => readyState === 'open').length };
  },
  /** One connection that echoes each line of standard input, until that ends; prints each echo as it comes. */
  async long() {
    const socket = await dial();
    const ending = read(socket);
    console.log(JSON.stringify({ connected: true }));
    socket.on('data', (chunk) => console.log(JSON.stringify({ echo: String(chunk) })));
    const input = createInterface({ input: process.stdin });
    input.on('line', (line) => socket.write(line));
    input.on('close', () => socket.end());
    return ending;
  },
};

const run = manners[manner];
if (run === undefined) throw new Error(`unknown manner ${manner}`);
const result = await run().catch((error: NodeJS.ErrnoException) => ({ failed: error.code ?? error.message }));
console.log(JSON.stringify(result));
process.exit(0);
