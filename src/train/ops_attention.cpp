// Attention: rotary turns and the fused step 3, forth and back.
#include "train/tape.h"

namespace headscope::train {

namespace {

// The parts of rows of queries, keys and values, as focus wants them.
struct Heads {
  View<float, 4> q, k, v, turned;
};

Heads heads_of(float* rows, std::int64_t N, const AttendPart& p) {
  const std::int64_t H = p.heads;
  const std::int64_t G = p.groups;
  const std::int64_t D = p.width;
  const std::int64_t Dv = p.value_width;
  const std::int64_t step = (H + G) * D + G * Dv;
  const auto part = [&](std::int64_t first, std::int64_t n, std::int64_t width) {
    return View<float, 4>(rows + first, {1, n, N, width}, {N * step, width, step, 1});
  };
  return {part(0, H, D), part(H * D, G, D), part((H + G) * D, G, Dv), part(0, H + G, D)};
}

FocusOptions options_of(const AttendPart& part, const Sequences& sequences) {
  FocusOptions o = part.options;
  o.cu_seqlens_q = o.cu_seqlens_k = sequences.cu_seqlens;
  return o;
}

}  // namespace

Var Tape::attend(Var qkv,
                 const AttendPart& part,
                 const Sequences& sequences,
                 std::span<const Look> looks) {
  const std::int64_t N = at(qkv).rows;
  const std::int64_t C = part.heads * part.value_width;
  const Var out = make(N, C);
  Block* lse = arena_.take(part.heads * N);
  const Heads heads = heads_of(numbers(qkv), N, part);
  rotate(part.rotary, heads.turned, sequences.positions);
  focus(FocusInput{heads.q, heads.k, heads.v, options_of(part, sequences)},
        FocusOutput{
            {numbers(out), {1, part.heads, N, part.value_width}, {N * C, part.value_width, C, 1}},
            {lse->data(), {1, part.heads, N}}});
  if (!looks.empty()) {
    taught_ +=
        taught_nats({heads.q, heads.k, {lse->data(), {1, part.heads, N}}, sequences}, part, looks);
  }
  record([this, a = Attended{qkv, out, lse, &part, sequences, looks}] {
    attend_back(a);
    release(a.out);
  });
  return out;
}

void Tape::attend_back(const Attended& a) {
  const AttendPart& part = *a.part;
  const std::int64_t N = at(a.qkv).rows;
  const std::int64_t C = part.heads * part.value_width;
  const Sink to = sink(a.qkv);
  if (to.add) throw Error(ErrorCode::kInternal, "[tape] expected attention to be alone");
  const auto as_heads = [&](float* rows) {
    return View<float, 4>(
        rows, {1, part.heads, N, part.value_width}, {N * C, part.value_width, C, 1});
  };
  const Heads heads = heads_of(numbers(a.qkv), N, part);
  const Heads back = heads_of(to.data, N, part);
  FocusGradientInput in;
  in.forward = {heads.q, heads.k, heads.v, options_of(part, a.sequences)};
  in.out = as_heads(numbers(a.out));
  in.lse = {a.lse->data(), {1, part.heads, N}};
  in.dout = as_heads(gradient(a.out));
  focus_backward(in, FocusGradient{back.q, back.k, back.v, {}, {}});
  if (!a.looks.empty() && options_.teaching != 0.0) {
    teach_back({heads.q, heads.k, in.lse, a.sequences},
               part,
               a.looks,
               static_cast<float>(options_.teaching),
               back.q,
               back.k);
  }
  rotate(part.rotary, back.turned, a.sequences.positions, Turn::kBack);
  Arena::drop(a.lse);
}

}  // namespace headscope::train
