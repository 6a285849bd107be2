// ONNX models of one operator, written as protobuf bytes (onnx.proto3: field numbers below).

const utf8 = new TextEncoder();

function varint(n) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(n));
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

const number = (field, n) => [...varint(field * 8), ...varint(n)];
const bytes = (field, body) => [...varint(field * 8 + 2), ...varint(body.length), ...body];
const text = (field, words) => bytes(field, [...utf8.encode(words)]);

const FLOAT = 1;
const INT32 = 6;
const INT = 2; // AttributeProto.type

const attribute = (name, value) => [...text(1, name), ...number(3, value), ...number(20, INT)];

// An axis is a number or a name; a name is any size.
function value({ name, type, shape }) {
  const axes = shape.flatMap((axis) =>
    bytes(1, typeof axis === 'number' ? number(1, axis) : text(2, axis)));
  const tensor = [...number(1, type), ...bytes(2, axes)];
  return [...text(1, name), ...bytes(2, bytes(1, tensor))];
}

function model({ operator, inputs, outputs, attributes }) {
  const node = [
    ...inputs.flatMap((one) => text(1, one.name)),
    ...outputs.flatMap((one) => text(2, one.name)),
    ...text(4, operator),
    ...Object.entries(attributes).flatMap(([name, n]) => bytes(5, attribute(name, n))),
    ...text(7, 'com.microsoft'),
  ];
  const graph = [
    ...bytes(1, node),
    ...text(2, operator),
    ...inputs.filter((one) => one.name).flatMap((one) => bytes(11, value(one))),
    ...outputs.flatMap((one) => bytes(12, value(one))),
  ];
  const opset = (domain, version) => bytes(8, [...text(1, domain), ...number(2, version)]);
  return Uint8Array.from([
    ...number(1, 8), // IR version
    ...bytes(7, graph),
    ...opset('', 17),
    ...opset('com.microsoft', 1),
  ]);
}

/** q, k, v [1,T,H*D] -> out [1,T,H*D]: every row sees every key. */
export function multiHeadAttention({ heads, rows, keys, width }) {
  const side = heads * width;
  return model({
    operator: 'MultiHeadAttention',
    inputs: [
      { name: 'q', type: FLOAT, shape: [1, rows, side] },
      { name: 'k', type: FLOAT, shape: [1, keys, side] },
      { name: 'v', type: FLOAT, shape: [1, keys, side] },
    ],
    outputs: [{ name: 'out', type: FLOAT, shape: [1, rows, side] }],
    attributes: { num_heads: heads },
  });
}

/**
 * Causal, G key/value heads, with a cache [1,G,keys,D] whose last `rows` places q's own keys are
 * written to. `cached` false: there is no cache before this call.
 */
export function groupQueryAttention({ heads, groups, rows, keys, width, cached }) {
  const cache = [1, groups, 'cache', width];
  return model({
    operator: 'GroupQueryAttention',
    inputs: [
      { name: 'q', type: FLOAT, shape: [1, rows, heads * width] },
      { name: 'k', type: FLOAT, shape: [1, rows, groups * width] },
      { name: 'v', type: FLOAT, shape: [1, rows, groups * width] },
      ...(cached
        ? [
            { name: 'past_k', type: FLOAT, shape: cache },
            { name: 'past_v', type: FLOAT, shape: cache },
          ]
        : [{ name: '' }, { name: '' }]),
      { name: 'last', type: INT32, shape: [1] },
      { name: 'total', type: INT32, shape: [1] },
    ],
    outputs: [
      { name: 'out', type: FLOAT, shape: [1, rows, heads * width] },
      { name: 'present_k', type: FLOAT, shape: [1, groups, keys, width] },
      { name: 'present_v', type: FLOAT, shape: [1, groups, keys, width] },
    ],
    attributes: { num_heads: heads, kv_num_heads: groups },
  });
}
