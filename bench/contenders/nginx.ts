import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cipher, serverName, tlsVersion } from '../certificates.ts';
import type { Contender, Ground } from '../contender.ts';
import { freePorts, startServer } from '../programs.ts';

const streamModule = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** nginx's stream proxy at both ends, one process of one thread each; no session is resumed, as Remora resumes none. */
export async function startNginx({ folder, client, server, backendPort }: Ground): Promise<Contender> {
  const [port = 0, tlsPort = 0] = await freePorts(2);
  const pids = [
    startNginxWith(
      join(folder, 'nginx-server'),
      stream(`
    listen 127.0.0.1:${tlsPort} ssl;
    ssl_certificate ${server.certificate};
    ssl_certificate_key ${server.key};
    ssl_client_certificate ${server.roots};
    ssl_verify_client on;
    ssl_protocols ${tlsVersion};
    ssl_conf_command Ciphersuites ${cipher};
    ssl_session_cache off;
    ssl_session_tickets off;
    proxy_pass 127.0.0.1:${backendPort};`),
    ),
    startNginxWith(
      join(folder, 'nginx-client'),
      stream(`
    listen 127.0.0.1:${port};
    proxy_pass 127.0.0.1:${tlsPort};
    proxy_ssl on;
    proxy_ssl_certificate ${client.certificate};
    proxy_ssl_certificate_key ${client.key};
    proxy_ssl_trusted_certificate ${client.roots};
    proxy_ssl_verify on;
    proxy_ssl_name ${serverName};
    proxy_ssl_protocols ${tlsVersion};
    proxy_ssl_conf_command Ciphersuites ${cipher};
    proxy_ssl_session_reuse off;`),
    ),
  ];
  return { name: 'nginx', port, tlsPort, pids };
}

/** Starts nginx with `body` as its http or stream block, as one process without privileges to give up. */
export function startNginxWith(folder: string, body: string): number {
  mkdirSync(folder);
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `load_module ${streamModule};
daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr crit;
events { worker_connections 4096; }
${body}`,
  );
  return startServer('nginx', ['-p', folder, '-e', 'stderr', '-c', file]);
}

// One line about each connection, as Remora writes one.
const stream = (server: string) => `stream {
  log_format line '$time_iso8601 $remote_addr $server_addr $status $bytes_sent $bytes_received $session_time';
  access_log /dev/null line;
  server {${server}
    proxy_timeout 1h;
  }
}
`;
