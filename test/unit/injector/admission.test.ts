import { describe, expect, it } from 'vitest';
import { answerAdmission } from '../../../src/injector/admission.ts';
import type { Injection, injectPod, PodContext } from '../../../src/injector/inject.ts';
import type { Review } from '../../support/admission.ts';
import { injectionSettings, patchedBy, recordedReview } from '../../support/admission.ts';

/*
 * The whole answer to an API server, with the real injector; a fake one where only the envelope is looked at. The reviews
 * were recorded from kube-apiserver v1.33.13, by a webhook that is asked about more than Remora's; v1beta1, which it no
 * longer sends, is composed.
 */

const answer = (review: unknown) => answerAdmission(review, injectionSettings);
const always =
  (injection: Injection): typeof injectPod =>
  () =>
    injection;
const answerWith = (review: unknown, injection: Injection) =>
  answerAdmission(review, injectionSettings, always(injection));
const mustNotInject: typeof injectPod = () => {
  throw new Error('This is not the creation of a pod');
};
const changed = (name: string, change: (review: Review) => void): Review => {
  const review = recordedReview(name);
  change(review);
  return review;
};

/** What the injector is told of a pod besides the pod. */
function contextOf(review: Review): PodContext {
  let seen: PodContext | undefined;
  answerAdmission(review, injectionSettings, (_, context) => {
    seen = context;
    return { kind: 'skipped', reason: 'opted_out', why: '' };
  });
  return seen!;
}

describe('A new pod', () => {
  it.each(['create-replicaset', 'create-job', 'create-cron-job', 'create-statefulset', 'create-bare-pod'])(
    'W3: of %s gets a patch that makes it a pod with the sidecar, under the uid of the request',
    (name) => {
      const review = recordedReview(name);
      const { reply, decision } = answer(review);
      expect(reply).toMatchObject({
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        response: { uid: review.request.uid, allowed: true, patchType: 'JSONPatch' },
      });
      expect(reply.response.status).toBeUndefined();
      const { spec, metadata } = patchedBy(reply, review.request.object);
      expect(spec.initContainers.map((one: { name: string }) => one.name)).toEqual(['remora-init', 'remora']);
      expect(spec.volumes).toHaveLength(3);
      expect(metadata.annotations['remora.dev/injected']).toMatch(/\d/);
      expect(decision.result).toBe('injected');
    },
  );

  it.each(['annotations', 'labels'])('W3: without %s gets a patch that makes what is missing', (field) => {
    const review = changed('create-bare-pod', ({ request }) => {
      delete request.object.metadata[field];
      delete request.object.spec.volumes;
      delete request.object.spec.initContainers;
    });
    const { spec, metadata } = patchedBy(answer(review).reply, review.request.object);
    expect(spec.volumes).toHaveLength(2);
    expect(spec.initContainers).toHaveLength(2);
    expect(metadata.annotations).toHaveProperty(['remora.dev/injected']);
  });

  it('W3: without containers is refused and not patched', () => {
    const review = changed('create-bare-pod', ({ request }) => delete request.object.spec.containers);
    expect(answer(review)).toMatchObject({
      reply: { response: { uid: review.request.uid, allowed: false } },
      decision: { result: 'refused' },
    });
  });

  it.each(['create-replicaset', 'create-statefulset', 'create-bare-pod'])(
    'W4: of %s stays as it is when it is reviewed again',
    (name) => {
      const review = recordedReview(name);
      const once = patchedBy(answer(review).reply, review.request.object);
      const again = answer({ ...review, request: { ...review.request, object: once } });
      expect(again).toMatchObject({
        reply: { response: { uid: review.request.uid, allowed: true } },
        decision: { result: 'skipped', reason: 'already_injected' },
      });
      expect(again.reply.response).not.toHaveProperty('patch');
      expect(again.reply.response).not.toHaveProperty('warnings');
    },
  );

  it('W4: that was copied from one with the sidecar, as the API server keeps it, stays as it is', () => {
    const { object } = recordedReview('update').request;
    expect(object.spec.initContainers.map((one: { name: string }) => one.name)).toEqual(['remora-init', 'remora']);
    const copied = changed('create-bare-pod', ({ request }) => Object.assign(request, { object }));
    expect(answer(copied).decision).toMatchObject({ result: 'skipped', reason: 'already_injected' });
  });

  it('that cannot live with the sidecar is refused with every problem', () => {
    const { reply, decision } = answer(recordedReview('create-conflict'));
    expect(reply.response).toMatchObject({ allowed: false, status: { code: 403, reason: 'Forbidden' } });
    expect(reply.response.status?.message).toMatch(/container remora already.*; .*99999/);
    expect(reply.response).not.toHaveProperty('patch');
    expect(decision).toEqual({ result: 'refused', reason: 'problems', namespace: 'shop', workload: 'web' });
  });

  it('W7: on the network of its node is left alone, and the person who made it is told', () => {
    const { reply, decision } = answer(recordedReview('create-host-network'));
    expect(reply.response).toMatchObject({ allowed: true, warnings: [expect.stringContaining('hostNetwork')] });
    expect(reply.response).not.toHaveProperty('patch');
    expect(decision).toMatchObject({ result: 'skipped', reason: 'host_network' });
  });

  it('that was opted out is left alone without a word', () => {
    const { reply, decision } = answer(recordedReview('create-opted-out'));
    expect(reply.response).toEqual({ uid: expect.any(String), allowed: true });
    expect(decision).toMatchObject({ result: 'skipped', reason: 'opted_out', workload: 'debug' });
  });

  it('W10: of a namespace of the system is left alone without a word', () => {
    const review = changed('create-replicaset', ({ request }) => {
      request.namespace = 'kube-system';
    });
    expect(answer(review)).toMatchObject({ decision: { result: 'skipped', reason: 'system_namespace' } });
    expect(answer(review).reply.response).toEqual({ uid: review.request.uid, allowed: true });
  });

  it('W15: is answered the same in a dry run', () => {
    const [real, dry] = [recordedReview('create-bare-pod'), recordedReview('create-dry-run')];
    expect(answer(dry).reply.response).toEqual({ ...answer(real).reply.response, uid: dry.request.uid });
    expect(answer(dry).decision).toMatchObject({ result: 'injected', isDryRun: true });
    expect(answer(real).decision).not.toHaveProperty('isDryRun');
  });

  it('is told of its namespace and its workload', () => {
    const of = (name: string) => contextOf(recordedReview(name));
    expect(of('create-replicaset')).toEqual({ namespace: 'shop', workloadName: 'web', isJob: false });
    expect(of('create-job')).toEqual({ namespace: 'shop', workloadName: 'migrate', isJob: true });
    expect(of('create-cron-job')).toEqual({ namespace: 'shop', workloadName: 'nightly-report', isJob: true });
    expect(of('create-statefulset')).toEqual({ namespace: 'shop', workloadName: 'db', isJob: false });
    expect(of('create-host-network')).toEqual({ namespace: 'monitoring', workloadName: 'node-agent', isJob: false });
    expect(of('create-bare-pod')).toEqual({ namespace: 'shop', workloadName: 'debug', isJob: false });
  });

  it('is of the namespace of the request, whatever it says itself', () => {
    const lying = changed('create-bare-pod', ({ request }) => {
      request.object.metadata.namespace = 'kube-system';
    });
    const silent = changed('create-bare-pod', ({ request }) => delete request.object.metadata.namespace);
    expect([contextOf(lying).namespace, contextOf(silent).namespace]).toEqual(['shop', 'shop']);
  });
});

describe('What is not the creation of a pod', () => {
  it.each(['update', 'delete', 'connect', 'update-ephemeral-containers', 'create-deployment'])(
    'W15: is allowed as it is: %s',
    (name) => {
      const review = recordedReview(name);
      const { reply, decision } = answerAdmission(review, injectionSettings, mustNotInject);
      expect(reply.response).toEqual({ uid: review.request.uid, allowed: true });
      expect(decision).toEqual({ result: 'skipped', reason: 'not_a_new_pod' });
    },
  );

  it.each<[string, (review: Review) => void]>([
    ['another version of pods', ({ request }) => Object.assign(request.resource, { version: 'v2' })],
    ['pods of another group', ({ request }) => Object.assign(request.resource, { group: 'metrics.k8s.io' })],
    ['a binding', ({ request }) => Object.assign(request, { subResource: 'binding' })],
  ])('W15: is allowed as it is: %s', (_, change) => {
    const { reply } = answerAdmission(changed('create-bare-pod', change), injectionSettings, mustNotInject);
    expect(reply.response).not.toHaveProperty('patch');
    expect(reply.response.allowed).toBe(true);
  });
});

describe('What no API server sends', () => {
  const bad = (review: unknown) => {
    const { reply, decision } = answerAdmission(review, injectionSettings, mustNotInject);
    expect(decision).toEqual({ result: 'failed', reason: 'bad_review' });
    expect(reply).toMatchObject({
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { allowed: false, status: { code: 400, reason: 'BadRequest' } },
    });
    return reply.response;
  };

  it('W2: is refused under its uid: an AdmissionReview of v1beta1', () => {
    expect(bad(recordedReview('v1beta1'))).toMatchObject({
      uid: '99990000-aaaa-4bbb-8ccc-ddddeeeeffff',
      status: { message: expect.stringContaining(`"admission.k8s.io/v1" at 'apiVersion'`) },
    });
  });

  it.each<[string, (review: Review) => void]>([
    ['another kind', (review) => Object.assign(review, { kind: 'ConversionReview' })],
    ['no kind', (review) => delete review.kind],
    ['no resource', ({ request }) => delete request.resource],
    ['no operation', ({ request }) => delete request.operation],
    ['no namespace', ({ request }) => delete request.namespace],
    ['a namespace that is none', ({ request }) => Object.assign(request, { namespace: '../kube-system' })],
    ['an operation that is a list', ({ request }) => Object.assign(request, { operation: ['CREATE'] })],
    ['a dry run of text', ({ request }) => Object.assign(request, { dryRun: 'false' })],
  ])('W2: is refused under its uid: %s', (_, change) => {
    const review = changed('create-bare-pod', change);
    expect(bad(review).uid).toBe(recordedReview('create-bare-pod').request.uid);
  });

  it.each<[string, unknown]>([
    ['no uid', changed('create-bare-pod', ({ request }) => delete request.uid)],
    ['an empty uid', changed('create-bare-pod', ({ request }) => Object.assign(request, { uid: '' }))],
    ['a uid that is a number', changed('create-bare-pod', ({ request }) => Object.assign(request, { uid: 7 }))],
    [
      'a uid without end',
      changed('create-bare-pod', ({ request }) => Object.assign(request, { uid: 'u'.repeat(129) })),
    ],
    ['no request', { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' }],
    ['null', null],
    ['a text', 'AdmissionReview'],
    ['a list', [recordedReview('create-bare-pod')]],
  ])('W2: is refused without a uid: %s', (_, review) => {
    expect(bad(review).uid).toBe('');
  });

  it('W14: never comes back in the answer, but for its uid', () => {
    const secret = 'c2VjcmV0';
    const review = changed('create-bare-pod', ({ request }) => Object.assign(request, { operation: [secret] }));
    expect(JSON.stringify(answerAdmission(review, injectionSettings))).not.toContain(secret);
  });
});

describe('Warnings', () => {
  const warningsOf = (warnings: readonly string[]) =>
    answerWith(recordedReview('create-bare-pod'), { kind: 'injected', patch: [], warnings }).reply.response.warnings;

  it('are passed on in order, each once', () => {
    expect(warningsOf(['One', 'Two', 'One'])).toEqual(['One', 'Two']);
    expect(warningsOf([])).toBeUndefined();
  });

  it('are cut at 256 characters, and never in the middle of one', () => {
    const [plain = '', emoji = ''] = warningsOf(['a'.repeat(300), '🐟'.repeat(200)]) ?? [];
    expect(plain).toBe(`${'a'.repeat(255)}…`);
    expect(emoji.length).toBeLessThanOrEqual(256);
    expect(emoji).toMatch(/^🐟+…$/u);
  });

  it('are at most 4096 characters together', () => {
    const all = warningsOf(Array.from({ length: 40 }, (_, index) => `${index}`.padStart(256, 'x'))) ?? [];
    expect(all).toHaveLength(16);
  });

  it('hold no line break and no control character', () => {
    expect(warningsOf(['a\r\nb\u001b[31mc\u2028d'])).toEqual(['a b [31mc d']);
  });
});

describe('A refusal', () => {
  const messageOf = (problems: readonly string[]) =>
    answerWith(recordedReview('create-bare-pod'), { kind: 'refused', problems }).reply.response.status?.message ?? '';

  it('names every problem', () => {
    expect(messageOf(['One', 'Two'])).toBe('One; Two');
  });

  it('is cut where nobody reads on', () => {
    expect(messageOf(Array.from({ length: 100 }, () => 'x'.repeat(100)))).toHaveLength(4096);
  });

  it('stays out of what is logged', () => {
    const { decision } = answerWith(recordedReview('create-replicaset'), { kind: 'refused', problems: ['PASSWORD=x'] });
    expect(JSON.stringify(decision)).not.toContain('PASSWORD');
  });
});
