import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EndFiles } from '../certificates.ts';
import { cipher, serverName, tlsVersion } from '../certificates.ts';
import type { Contender, Ground } from '../contender.ts';
import { freePorts, startServer } from '../programs.ts';

/** HAProxy in TCP mode at both ends, one thread each; no session is resumed, as Remora resumes none. */
export async function startHaproxy({ folder, client, server, backendPort }: Ground): Promise<Contender> {
  const [port = 0, tlsPort = 0] = await freePorts(2);
  const tls = (files: EndFiles) =>
    `ssl crt ${files.both} ca-file ${files.roots} verify required ssl-min-ver ${tlsVersion} ` +
    `ciphersuites ${cipher} no-tls-tickets`;
  const start = (name: string, bind: string, target: string) => {
    const file = join(folder, `haproxy-${name}.cfg`);
    writeFileSync(file, configuration(bind, target));
    return startServer('haproxy', ['-db', '-f', file]);
  };
  const pids = [
    start('server', `127.0.0.1:${tlsPort} ${tls(server)}`, `127.0.0.1:${backendPort}`),
    start('client', `127.0.0.1:${port}`, `127.0.0.1:${tlsPort} ${tls(client)} verifyhost ${serverName} no-ssl-reuse`),
  ];
  return { name: 'HAProxy', port, tlsPort, pids };
}

// One line about each connection, as Remora writes one.
const configuration = (bind: string, target: string) => `global
  nbthread 1
  maxconn 4096
  log stdout format raw local0 info
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen tunnel
  bind ${bind}
  server other ${target}
`;
