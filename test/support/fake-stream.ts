import type { ControlClient } from '../../src/agent/control-client.ts';
import type { StreamMessage } from '../../src/control-api.ts';

/** One call of `stream`, in the hands of the test. */
export interface FakeStream {
  readonly destinations: readonly string[];
  readonly signal: AbortSignal;
  /** The bytes as they are. */
  write(text: string | Uint8Array): void;
  send(...messages: StreamMessage[]): void;
  end(error?: Error): void;
}

export interface FakeStreams extends Pick<ControlClient, 'stream'> {
  readonly streams: readonly FakeStream[];
  /** Fails the calls that follow; undefined lets them succeed again. */
  failure: Error | undefined;
}

/** The `stream` call of a control client; the test is the control plane. */
export function createFakeStreams(): FakeStreams {
  const streams: FakeStream[] = [];
  const fake = {
    streams,
    failure: undefined as Error | undefined,
    async stream(destinations: readonly string[], signal: AbortSignal) {
      if (fake.failure !== undefined) throw fake.failure;
      const controller: { current?: ReadableStreamDefaultController<Uint8Array> } = {};
      const readable = new ReadableStream<Uint8Array>({
        start(given) {
          controller.current = given;
        },
      });
      const settle = (work: () => void) => {
        if (!signal.aborted) work();
      };
      signal.addEventListener('abort', () => controller.current?.error(signal.reason));
      const write = (text: string | Uint8Array) =>
        settle(() => controller.current?.enqueue(typeof text === 'string' ? Buffer.from(text) : text));
      streams.push({
        destinations,
        signal,
        write,
        send: (...messages) => write(messages.map((message) => `${JSON.stringify(message)}\n`).join('')),
        end: (error) => settle(() => (error ? controller.current?.error(error) : controller.current?.close())),
      });
      return readable;
    },
  };
  return fake;
}
