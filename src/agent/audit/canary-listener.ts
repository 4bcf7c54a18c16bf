import type { Server } from 'node:net';
import { createServer } from 'node:net';
import { messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { captureProbe } from '../../ports.ts';

/** What whoever lands here is told: no answer of the captured port is like it. */
export const notCapturedAnswer = 'not captured';

const maxConnections = 8;

/**
 * Listens where a dial of the canary port arrives when nothing captures it, so that it is answered in either case: a refusal
 * could come from a network as well. Goes without when somebody else has the port; he does not know the answer.
 */
export function listenOnCanaryPort(log: Log, hasIpv6: boolean): { close(): void } {
  const servers = (hasIpv6 ? ['0.0.0.0', '::'] : ['0.0.0.0']).map((host) => listen(host, log));
  return {
    close() {
      for (const server of servers) server.close();
    },
  };
}

function listen(host: string, log: Log): Server {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.resume().end(notCapturedAnswer, () => socket.destroySoon());
  });
  server.maxConnections = maxConnections;
  server.on('error', (error) =>
    log.info(
      { listener: `${host}:${captureProbe.port}`, detail: messageOf(error) },
      'The canary port is not listened on',
    ),
  );
  return server.listen({ host, port: captureProbe.port, ipv6Only: true });
}
