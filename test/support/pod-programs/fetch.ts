import { readFileSync } from 'node:fs';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { text } from 'node:stream/consumers';

/**
 * `fetch.ts URL [--post=TEXT] [--root=FILE]`: prints status and body as one JSON line, or how it failed. HTTPS is verified
 * against the root.
 */
const [url = '', ...flags] = process.argv.slice(2);
const flag = (name: string) => flags.find((given) => given.startsWith(`--${name}=`))?.slice(name.length + 3);
const [post, root] = [flag('post'), flag('root')];
const options = {
  method: post === undefined ? 'GET' : 'POST',
  headers: post === undefined ? {} : { 'content-type': 'application/json' },
  ...(root === undefined ? {} : { ca: readFileSync(root) }),
};
const request = (url.startsWith('https:') ? requestHttps : requestHttp)(url, options, async (response) => {
  console.log(JSON.stringify({ status: response.statusCode, body: await text(response) }));
});
request.on('error', (error: NodeJS.ErrnoException) =>
  console.log(JSON.stringify({ failed: error.code ?? error.message })),
);
request.end(post);
