import { get } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';

/* Asks each URL again and again, 20 at a time, until it is killed. `scrapers.ts URL...` */

const urls = process.argv.slice(2);
for (;;) {
  for (const url of urls) {
    for (let asked = 0; asked < 20; asked++) {
      const request = get(url, { agent: false }, (response) => response.resume());
      request.on('error', () => undefined);
    }
  }
  await wait(200);
}
