#include "train/layers.h"

#include <fmt/format.h>

#include <set>

namespace headscope::train {

using models::AttentionFacts;
using models::Blueprint;
using models::LayerFacts;
using models::MlpFacts;

namespace {

void refuse(bool there, const char* what) {
  if (!there) return;
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("[train] expected a model without {}, which training has no part for", what));
}

void check(const AttentionFacts& a) {
  refuse(a.clip > 0.0F, "clipped queries and keys");
  refuse(a.slopes_bf16, "ALiBi rounded to bf16");
  refuse(a.rope.style != Rotary::Style::kNone && a.rope.depends_on_length(),
         "rotary positions that depend on the length");
  refuse(!a.relative.table.empty(), "biases by distance");
  refuse(a.qk_norm != HeadNorm::Kind::kNone, "norms of queries and keys");
  refuse(a.latent.has_value(), "latent attention");
  refuse(a.disentangled.has_value(), "disentangled positions");
  refuse(!a.sinks.empty(), "attention sinks");
  refuse(a.layout != models::QkvLayout::kSeparate && a.layout != models::QkvLayout::kConcatenated,
         "queries, keys and values stored head by head");
}

void check_stack(const Blueprint& b) {
  refuse(b.parallel, "parallel attention and MLP");
  refuse(b.residual_normed, "residuals behind a norm");
  refuse(b.residual_scale != 1.0F, "a residual multiplier");
  refuse(b.convolution.has_value(), "a convolution of embeddings");
  std::set<std::string> prefixes;
  for (const LayerFacts& f : b.layers) {
    refuse(f.cross.has_value(), "cross attention");
    refuse(f.mlp.experts.has_value(), "experts");
    refuse(f.mlp.form == MlpFacts::Form::kClamped, "clamped gates");
    refuse(!prefixes.insert(f.prefix).second, "layers that share weights");
    check(f.attention);
  }
}

}  // namespace

Layers::Layers(Maker& maker, const Blueprint& b) {
  check_stack(b);
  for (const LayerFacts& f : b.layers) {
    Layer& to = layers_.emplace_back();
    to.attention_norms = norms(maker, b, f.prefix, f.attention_norms);
    read_attention(maker, b, f, to);
    to.mlp_norms = norms(maker, b, f.prefix, f.mlp_norms);
    read_mlp(maker, b, f, to);
  }
}

Layers::Around Layers::norms(Maker& maker,
                             const Blueprint& b,
                             const std::string& prefix,
                             const models::Norms& names) {
  const auto norm = [&](const std::string& name) {
    return name.empty() ? std::nullopt : std::optional(maker.norm(prefix + name, b.width, b.norm));
  };
  return {norm(names.before), norm(names.after), norm(names.over)};
}

void Layers::read_attention(Maker& maker, const Blueprint& b, const LayerFacts& f, Layer& to) {
  const AttentionFacts& a = f.attention;
  if (a.layout == models::QkvLayout::kSeparate) {
    to.qkv = {maker.map(f.prefix + a.query, b.width, a.heads * a.width),
              maker.map(f.prefix + a.key, b.width, a.groups * a.width),
              maker.map(f.prefix + a.value, b.width, a.groups * a.value_width)};
  } else {
    to.qkv = {maker.map(
        f.prefix + a.fused, b.width, (a.heads + a.groups) * a.width + a.groups * a.value_width)};
  }
  to.output =
      maker.map(f.prefix + a.output, a.heads * a.value_width, b.width, Maker::Draw::kResidual);
  AttendPart& part = to.attend;
  part.heads = a.heads;
  part.groups = a.groups;
  part.width = a.width;
  part.value_width = a.value_width;
  if (a.rope.style != Rotary::Style::kNone) part.rotary = a.rope.at(1);
  part.options.scale = a.scale;
  part.options.causal = a.causal;
  part.options.window_left = a.window_left;
  part.options.window_right = a.window_right;
  part.options.softcap = a.softcap;
  if (a.slopes.empty()) return;
  to.slopes = Tensor(DType::kF32, {a.heads});
  for (std::size_t h = 0; h < a.slopes.size(); ++h)
    to.slopes.span<float>()[h] = a.slopes[h] * a.slopes_scale;
  part.options.slopes = std::as_const(to.slopes).view<float, 1>();
}

void Layers::read_mlp(Maker& maker, const Blueprint& b, const LayerFacts& f, Layer& to) {
  const MlpFacts& m = f.mlp;
  to.gated = m.form == MlpFacts::Form::kGated;
  to.activation = m.activation;
  if (!m.gate_up.empty()) {
    to.up = {maker.map(f.prefix + m.gate_up, b.width, 2 * m.width)};
  } else {
    if (to.gated) to.up.push_back(maker.map(f.prefix + m.gate, b.width, m.width));
    to.up.push_back(maker.map(f.prefix + m.up, b.width, m.width));
  }
  to.down = maker.map(f.prefix + m.down, m.width, b.width, Maker::Draw::kResidual);
}

template <typename F>
Var Layers::half(Tape& tape, Var x, const Around& around, F&& inside) {
  Var found = inside(around.before ? tape.norm(x, *around.before) : x);
  if (around.after) found = tape.norm(found, *around.after);
  tape.drop(found);
  const Var sum = tape.add(x, found);
  return around.over ? tape.norm(sum, *around.over) : sum;
}

Var Layers::run(Tape& tape,
                Var x,
                const Sequences& sequences,
                std::span<const std::vector<Look>> looks) const {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const std::span<const Look> taught = looks.empty() ? std::span<const Look>() : looks[l];
    x = half(tape, x, layer.attention_norms, [&](Var read) {
      const Var qkv = tape.linear(read, layer.qkv);
      const Var found = tape.attend(qkv, layer.attend, sequences, taught);
      tape.watch(found);
      return tape.linear(found, {&layer.output, 1});
    });
    x = half(tape, x, layer.mlp_norms, [&](Var read) {
      const Var up = tape.linear(read, layer.up);
      const Var shaped =
          layer.gated ? tape.gate(up, layer.activation) : tape.activate(up, layer.activation);
      return tape.linear(shaped, {&layer.down, 1});
    });
  }
  return x;
}

}  // namespace headscope::train
