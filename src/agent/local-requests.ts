import type { IncomingMessage } from 'node:http';

const localHost = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;
const otherSite = 'The request comes from a page of another site';

/**
 * Why a request may not be answered, in one sentence; undefined when it may. A page of any site can make the browser of
 * whoever is on this host ask us: DNS rebinding gives a foreign name our address, but it cannot change the Host that the
 * browser sends, nor its Origin.
 */
export function refuseForeign(request: IncomingMessage): string | undefined {
  const { method, headers, headersDistinct } = request;
  // All of them: `headers` would show the first of two.
  if (!localHost.test(headersDistinct.host?.join() ?? '')) {
    return 'The Host header is not localhost, 127.0.0.1 or [::1]';
  }
  if (method === 'POST' && isFromBrowser(request)) return 'Nothing that changes the sidecar is done for a browser';
  const { origin } = headers;
  if (origin !== undefined && !(origin.startsWith('http://') && localHost.test(origin.slice('http://'.length)))) {
    return otherSite;
  }
  return headers['sec-fetch-site'] === 'cross-site' ? otherSite : undefined;
}

/**
 * Of no page is there a form here, so a browser posts only for somebody else's: also one on another port of this host, which
 * is the same site to it, and also one without an Origin, which old browsers leave out of a form's request. A page can
 * change neither the Sec-Fetch headers nor, for a form, the User-Agent.
 */
function isFromBrowser({ headers }: IncomingMessage): boolean {
  const { origin, referer, 'sec-fetch-site': site, 'user-agent': agent = '' } = headers;
  return origin !== undefined || referer !== undefined || site !== undefined || agent.startsWith('Mozilla/');
}
