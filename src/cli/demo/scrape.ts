import { Agent, request } from 'undici';

/** What a page of the mesh answered. */
export interface Page {
  readonly status: number;
  readonly body: string;
}

const timeoutMs = 2000;
const maxBodyBytes = 1024 * 1024;

/** Reads pages over HTTP, in clear: metrics and readiness. Rejects when nobody answers in time. */
export interface PageReader {
  read(url: string): Promise<Page>;
  close(): Promise<void>;
}

export function createPageReader(): PageReader {
  const dispatcher = new Agent({
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxResponseSize: maxBodyBytes,
  });
  return {
    async read(url) {
      const { statusCode, body } = await request(url, { dispatcher });
      return { status: statusCode, body: await body.text() };
    },
    close: () => dispatcher.destroy(),
  };
}
