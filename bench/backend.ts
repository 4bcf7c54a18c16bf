import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startNginxWith } from './contenders/nginx.ts';
import { freePorts } from './programs.ts';

export const smallAnswer = { path: '/small', bodyBytes: 128 };
export const largeAnswer = { path: '/large', bodyBytes: 64 * 1024 * 1024 };

export interface Backend {
  readonly port: number;
  /** How many requests it has served; asking is one itself. */
  servedRequests(): Promise<number>;
}

/** nginx as the application behind every contender: a small answer from memory, and a large one from the file cache. */
export async function startBackend(folder: string): Promise<Backend> {
  const [port = 0] = await freePorts(1);
  const [home, site] = [join(folder, 'backend'), join(folder, 'site')];
  mkdirSync(site);
  writeFileSync(join(site, 'large'), Buffer.alloc(largeAnswer.bodyBytes, 'remora '));
  startNginxWith(
    home,
    `http {
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((one) => `${one}_temp_path ${home};`).join(' ')}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = ${smallAnswer.path} { return 200 '${'x'.repeat(smallAnswer.bodyBytes)}'; }
    location = ${largeAnswer.path} { root ${site}; }
    location = /status { stub_status; }
  }
}
`,
  );
  return {
    port,
    async servedRequests() {
      const response = await fetch(`http://127.0.0.1:${port}/status`, { headers: { connection: 'close' } });
      const [, served] = /^ \d+ \d+ (\d+)/m.exec(await response.text()) ?? [];
      return Number(served);
    },
  };
}
