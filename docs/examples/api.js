// A client of its own: node api.js ADDRESS PROTO-DIRECTORY
// It needs @grpc/grpc-js and @grpc/proto-loader.
'use strict';

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protos] = process.argv.slice(2);
const definition = loader.loadSync('lfsfs/v1/fs.proto', {
  includeDirs: [protos],
  keepCase: true,
  longs: Number,
  defaults: true,
});
const { Fs } = grpc.loadPackageDefinition(definition).lfsfs.v1;
const fs = new Fs(address, grpc.credentials.createInsecure());

// Longer contents go on in further messages.
const PART = 512 * 1024;

const call = (name, request) =>
  new Promise((resolve, reject) => {
    fs[name](request, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

// Sends [path, content] pairs; a content of null removes the path.
const update = (project, objects) =>
  new Promise((resolve, reject) => {
    const stream = fs.Update((error, answer) => (error ? reject(error) : resolve(answer.version)));
    for (const [path, content] of objects) {
      if (content === null) {
        stream.write({ project, object: { path: Buffer.from(path), deleted: true } });
        continue;
      }
      const bytes = Buffer.from(content);
      let at = 0;
      do {
        const part = bytes.subarray(at, at + PART);
        at += part.length;
        stream.write({
          project,
          object: { path: Buffer.from(path), content: part },
          continued: at < bytes.length,
        });
      } while (at < bytes.length);
    }
    stream.end();
  });

// Returns the objects of a version, or what differs from an older one, as a Map of paths; null is a removal.
async function get(project, queries = [], versions = {}) {
  const found = new Map();
  for await (const answer of fs.Get({ project, queries, ...versions })) {
    const { path, deleted, content } = answer.object;
    const name = path.toString();
    const before = found.get(name) ?? Buffer.alloc(0);
    found.set(name, deleted ? null : Buffer.concat([before, content ?? Buffer.alloc(0)]));
  }
  return found;
}

// Waits for the versions of a project until one has this number.
async function watchUntil(project, number) {
  const { project: known } = await call('Inspect', { name: project });
  const stream = fs.Watch({ project_id: known.id, after: 0 });
  const seen = [];
  for await (const version of stream) {
    seen.push(version.number);
    if (version.number >= number) {
      break;
    }
  }
  stream.cancel();
  return seen;
}

async function main() {
  await call('NewProject', { name: 'js' });
  const big = Buffer.alloc(3 * 1024 * 1024, 'lfsfs ');
  console.log('update', await update('js', [['src/a.txt', 'one'], ['src/b.txt', 'two'], ['big', big]]));
  console.log('update', await update('js', [['src/a.txt', 'three'], ['src/b.txt', null]]));

  const { projects } = await call('ListProjects', {});
  console.log('list', projects.map((project) => `${project.name}@v${project.head}`).join(' '));

  const sources = await get('js', [{ path: Buffer.from('src/'), is_prefix: true }]);
  console.log('get', [...sources].map(([path, content]) => `${path}=${content}`).join(' '));
  console.log('big', (await get('js', [{ path: Buffer.from('big') }])).get('big').equals(big));

  const changed = await get('js', [], { from_version: 1, to_version: 2 });
  console.log('changed', [...changed].map(([path, content]) => `${path}=${content}`).join(' '));

  const { version, objects } = await call('GetUnary', { project: 'js', max_content_send_size: 100 });
  console.log('unary', version, objects.map((object) => object.path.toString()).join(' '));

  console.log('rollback', (await call('Rollback', { project: 'js', version: 1 })).version);
  console.log('watch', (await watchUntil('js', 3)).join(' '));
  const clone = { source: 'js', version: 2, target: 'copy', create: true };
  console.log('clone', (await call('CloneToProject', clone)).version);
  console.log('copy', [...(await get('copy')).keys()].join(' '));

  // The two older versions expire; what the newest one and the copy name is no garbage.
  const collected = await call('GcProject', { project: 'js', keep_versions: 1, grace_secs: 0 });
  console.log('gc', collected.versions);
  const expired = await get('js', [], { to_version: 2 }).catch((error) => error);
  console.log('expired', expired.code === grpc.status.NOT_FOUND);
  console.log('garbage', (await call('GcContents', { sample: 100, grace_secs: 0 })).contents);

  const refused = await update('js', [['../a', 'x']]).catch((error) => error);
  console.log('refused', refused.code === grpc.status.INVALID_ARGUMENT);
  fs.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
