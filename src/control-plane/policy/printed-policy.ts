import { hash } from 'node:crypto';
import type { AuthorizationPolicy, PolicyState } from '../../control-api.ts';
import { maxPolicyBytes, maxPolicyLineBytes } from '../../control-api.ts';

/** A state as it is told: in one line, or in parts that are made as they are asked for. */
export interface PrintedState {
  /** Equal for equal states. */
  readonly digest: string;
  readonly lineCount: number;
  /** Each is what follows the head of one line, from its first comma on. */
  fields(): Iterable<string>;
}

/** JSON with what is asked of it again and again. */
interface Printed {
  readonly text: string;
  readonly bytes: number;
  readonly digest: string;
}

export interface PolicyPrinter {
  /** The same for the same object. */
  print(policy: PolicyState): PrintedState;
  /** Prints what is not printed yet in slices, so that all else goes on meanwhile; then calls `done`, at once if there is little. */
  prepare(policies: Iterable<AuthorizationPolicy>, done: () => void): void;
}

/** Bytes of JSON that one turn of the event loop prints: some milliseconds. */
export const printedAtOnceBytes = 512 * 1024;
/** The longest head of a line, with room to spare. */
const headBytes = 1024;
/** UTF-16 units in the text of a part: each is at most three bytes of JSON, and a quote or a backslash in JSON is two. */
const partLength = 60 * 1024;

/** An AuthorizationPolicy is printed once, however many workloads it selects and however often another object changes. */
export function createPolicyPrinter(maxBytes: number = maxPolicyBytes): PolicyPrinter {
  const printed = new WeakMap<AuthorizationPolicy, Printed>();
  const whole = new WeakMap<PolicyState, PrintedState>();

  const textOf = (policy: AuthorizationPolicy): Printed => {
    const known = printed.get(policy);
    if (known !== undefined) return known;
    const made = printJson(policy);
    printed.set(policy, made);
    return made;
  };
  const make = ({ authorization = [], ...rest }: PolicyState): PrintedState => {
    const head = printJson(rest);
    const selected = authorization.map(textOf);
    const bytes = bytesOf([head, ...selected]);
    const texts = bytes <= maxBytes ? selected : [printJson(tooLarge(bytes, maxBytes))];
    const lines = [head, ...texts];
    const digest = hash('sha256', lines.map((line) => line.digest).join(), 'base64');
    return { digest, ...(bytesOf(lines) + headBytes > maxPolicyLineBytes ? inParts(lines) : inOneLine(head, texts)) };
  };
  return {
    print(policy) {
      const known = whole.get(policy);
      if (known !== undefined) return known;
      const made = make(policy);
      whole.set(policy, made);
      return made;
    },
    prepare(policies, done) {
      const left = policies[Symbol.iterator]();
      const slice = () => {
        let next = left.next();
        for (let bytes = 0; next.done !== true; next = left.next()) {
          if (!printed.has(next.value)) bytes += textOf(next.value).bytes;
          if (bytes >= printedAtOnceBytes) return void setImmediate(slice);
        }
        done();
      };
      slice();
    },
  };
}

/** With what stands between them. */
function bytesOf(printed: readonly Printed[]): number {
  return printed.reduce((sum, { bytes }) => sum + bytes + 1, 0);
}

function printJson(value: object): Printed {
  const text = JSON.stringify(value);
  return { text, bytes: Buffer.byteLength(text), digest: hash('sha256', text, 'base64') };
}

function tooLarge(bytes: number, maxBytes: number): AuthorizationPolicy {
  const problem = `The policy of this workload has ${bytes} bytes and may have ${maxBytes}; fewer or smaller AuthorizationPolicies must select it`;
  return { name: 'remora/policy-too-large', action: 'DENY', problem, rules: [] };
}

/** Joined when somebody is told of it: most streams have been told of the same before. */
function inOneLine({ text }: Printed, policies: readonly Printed[]): Omit<PrintedState, 'digest'> {
  let fields: readonly string[] | undefined;
  const join = () => {
    const list = policies.map((policy) => policy.text).join();
    return [`,"data":${list === '' ? text : `${text.slice(0, -1)},"authorization":[${list}]}`}`];
  };
  return {
    lineCount: 1,
    fields() {
      fields ??= join();
      return fields;
    },
  };
}

function inParts(printed: readonly Printed[]): Omit<PrintedState, 'digest'> {
  const lines = printed.map(({ text }) => text);
  const lineCount = Math.ceil(lines.reduce((sum, line) => sum + line.length + 1, 0) / partLength);
  return {
    lineCount,
    *fields() {
      let part = 0;
      for (const text of cut(lines)) {
        part += 1;
        yield `,"part":${part},"of":${lineCount},"text":${JSON.stringify(text)}`;
      }
    },
  };
}

function* cut(lines: readonly string[]): Generator<string> {
  let held = '';
  for (const line of lines) {
    held += `${line}\n`;
    while (held.length >= partLength) {
      yield held.slice(0, partLength);
      held = held.slice(partLength);
    }
  }
  if (held !== '') yield held;
}
