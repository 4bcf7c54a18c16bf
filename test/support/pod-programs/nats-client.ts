import { connect } from 'node:net';

/*
 * A client of NATS that says nothing before the server has: `nats-client.ts HOST PORT`. Prints each thing that happens, in
 * its order, as one line of JSON.
 */
const [host = '', port = ''] = process.argv.slice(2);
const socket = connect({ host, port: Number(port) });
let received = '';

const tell = (event: string, text?: string) => console.log(JSON.stringify({ event, text }));

const answers: readonly [begins: string, says: string][] = [
  ['INFO', 'CONNECT {"verbose":false}\r\nSUB greetings 1\r\nPUB greetings 5\r\nhello\r\n'],
  ['MSG greetings 1 5', ''],
  ['hello', 'PING\r\n'],
  ['PONG', ''],
];

socket.on('connect', () => tell('connected'));
socket.on('data', (chunk) => {
  received += chunk;
  const lines = received.split('\r\n');
  received = lines.pop() ?? '';
  for (const line of lines) {
    const [begins, says] = answers.find(([one]) => line.startsWith(one)) ?? [line, ''];
    tell('heard', begins);
    if (says !== '') tell('said', says.split(/\s/)[0]);
    socket.write(says);
    if (begins === 'PONG') socket.end();
  }
});
socket.on('end', () => tell('ended'));
socket.on('error', (error: NodeJS.ErrnoException) => tell('failed', error.code));
