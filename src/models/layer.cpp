#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "models/layer.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

// Where queries, keys and values lie in the file's fused matrix, in the order that split wants them.
std::vector<std::int64_t> rows_of_layout(const AttentionFacts& a) {
  std::vector<std::int64_t> order;
  const std::int64_t D = a.width;
  const auto rows = [&](std::int64_t first) {
    for (std::int64_t d = 0; d < D; ++d) order.push_back(first + d);
  };
  if (a.layout == QkvLayout::kByHead) {
    for (std::int64_t part = 0; part < 3; ++part) {
      for (std::int64_t h = 0; h < a.heads; ++h) rows((3 * h + part) * D);
    }
  } else if (a.layout == QkvLayout::kByGroup) {
    const std::int64_t each = a.heads / a.groups;
    for (std::int64_t h = 0; h < a.heads; ++h) rows((h / each * (each + 2) + h % each) * D);
    for (std::int64_t part = 0; part < 2; ++part) {
      for (std::int64_t g = 0; g < a.groups; ++g) rows((g * (each + 2) + each + part) * D);
    }
  } else if (a.layout == QkvLayout::kFourShards) {
    const std::int64_t each = a.heads / 4;
    for (const std::int64_t part : {0, 2, 1}) {  // queries, values, keys
      for (std::int64_t h = 0; h < a.heads; ++h)
        rows((h / each * 3 + part) * each * D + h % each * D);
    }
  }
  return order;
}

// Rows of heads of `kept + moved` numbers: the last `moved` of each first.
std::vector<std::int64_t> turned_first(std::int64_t heads, std::int64_t kept, std::int64_t moved) {
  std::vector<std::int64_t> order;
  for (std::int64_t h = 0; h < heads; ++h) {
    const std::int64_t first = h * (kept + moved);
    for (std::int64_t d = 0; d < moved; ++d) order.push_back(first + kept + d);
    for (std::int64_t d = 0; d < kept; ++d) order.push_back(first + d);
  }
  return order;
}

std::shared_ptr<const LatentProjection> read_latent(
    Weights& w, const Blueprint& b, const AttentionFacts& a, const std::string& prefix, float eps) {
  const LatentFacts& f = *a.latent;
  auto l = std::make_shared<LatentProjection>();
  const std::int64_t own = a.width - f.turned;
  const auto share = [](Linear map) { return std::make_shared<const Linear>(std::move(map)); };
  // Before orders of as many rows are made.
  const bool small = f.query_rank > 0;
  (void)w.at(prefix + (small ? f.query_up : a.query) + ".weight",
             {a.heads * a.width, small ? f.query_rank : b.width});
  (void)w.at(prefix + f.up + ".weight", {a.heads * (own + a.value_width), f.rank});
  const auto order = turned_first(a.heads, own, f.turned);
  if (f.query_rank > 0) {
    l->query_down = share(w.linear(prefix + f.query_down, b.width, f.query_rank));
    l->query_norm = w.numbers(prefix + f.query_norm + ".weight", std::array{f.query_rank});
    l->query = share(w.linear(prefix + f.query_up, f.query_rank, a.heads * a.width, order));
  } else {
    l->query = share(w.linear(prefix + a.query, b.width, a.heads * a.width, order));
  }
  l->down = share(w.linear(prefix + f.down, b.width, f.rank + f.turned));
  l->norm = w.numbers(prefix + f.norm + ".weight", std::array{f.rank});
  std::vector<std::int64_t> up;  // keys of all heads, then values of all heads
  const std::int64_t each = own + a.value_width;
  for (std::int64_t h = 0; h < a.heads; ++h) {
    for (std::int64_t d = 0; d < own; ++d) up.push_back(h * each + d);
  }
  for (std::int64_t h = 0; h < a.heads; ++h) {
    for (std::int64_t d = 0; d < a.value_width; ++d) up.push_back(h * each + own + d);
  }
  l->up = share(w.linear(prefix + f.up, f.rank, a.heads * each, up));
  l->turned = f.turned;
  l->eps = eps;
  return l;
}

// The weight (or bias) of a norm of heads: one tensor, or one for every head.
Tensor head_numbers(const Weights& w,
                    const std::string& name,
                    const char* ending,
                    std::int64_t heads,
                    std::int64_t width) {
  if (name.find("{}") == std::string::npos) {
    if (w.find(name + ending) == nullptr && std::string_view(ending) == ".bias") return {};
    return w.numbers(name + ending, std::array{width, heads * width});
  }
  if (std::string_view(ending) == ".bias") return {};
  Tensor all(DType::kF32, {heads * width});
  for (std::int64_t h = 0; h < heads; ++h) {
    const Tensor one = w.numbers(fmt::format(fmt::runtime(name), h) + ending, std::array{width});
    std::copy_n(one.span<float>().begin(), width, all.span<float>().begin() + h * width);
  }
  return all;
}

void read_head_norm(const Weights& w,
                    const AttentionFacts& a,
                    const std::string& prefix,
                    AttentionPart& layer) {
  if (a.qk_norm == HeadNorm::Kind::kNone) return;
  HeadNorm& norm = layer.weights.norm;
  norm.kind = a.qk_norm;
  norm.over = a.qk_norm_over;
  norm.eps = a.qk_norm_eps;
  layer.query_norm = head_numbers(w, prefix + a.query_norm, ".weight", a.heads, a.width);
  layer.key_norm = head_numbers(w, prefix + a.key_norm, ".weight", a.groups, a.width);
  if (a.qk_norm == HeadNorm::Kind::kLayer) {
    layer.query_norm_bias = head_numbers(w, prefix + a.query_norm, ".bias", a.heads, a.width);
    layer.key_norm_bias = head_numbers(w, prefix + a.key_norm, ".bias", a.groups, a.width);
  }
  const auto view = [&](Tensor& t, bool weight) {
    if (t.empty()) return View<const float, 1>();
    for (float& x : t.span<float>()) x += weight && a.qk_norm_plus_one ? 1.0F : 0.0F;
    return View<const float, 1>(t.view<float, 1>());
  };
  norm.q_weight = view(layer.query_norm, true);
  norm.k_weight = view(layer.key_norm, true);
  norm.q_bias = view(layer.query_norm_bias, false);
  norm.k_bias = view(layer.key_norm_bias, false);
}

// Each head's rows of a map of the table of positions, as a map of its own.
std::vector<std::shared_ptr<const Linear>> position_maps(Weights& w,
                                                         const AttentionFacts& a,
                                                         const Tensor& table,
                                                         const std::string& name) {
  const std::int64_t R = table.dim(0);
  Tensor all(DType::kF32, {R, a.heads * a.width});
  w.linear(name, table.dim(1), a.heads * a.width)(table.view<float, 2>(), all.view<float, 2>());
  std::vector<std::shared_ptr<const Linear>> maps;
  for (std::int64_t h = 0; h < a.heads; ++h) {
    Tensor own(DType::kF32, {R, a.width});
    for (std::int64_t r = 0; r < R; ++r)
      std::copy_n(&all.view<float, 2>()(r, h * a.width), a.width, &own.view<float, 2>()(r, 0));
    maps.push_back(std::make_shared<const Linear>(own.any()));
  }
  return maps;
}

std::shared_ptr<const DisentangledPositions> read_disentangled(Weights& w,
                                                               const Blueprint& b,
                                                               const std::string& prefix,
                                                               const AttentionFacts& a) {
  const DisentangledFacts& f = *a.disentangled;
  Tensor table = Tensor::f32_from(w.at(f.table + ".weight", {2 * f.span, b.width}));
  if (!f.norm.empty()) normalise(w.norm(f.norm, b.width, b.norm), table.view<float, 2>());
  auto p = std::make_shared<DisentangledPositions>();
  p->span = f.span;
  p->buckets = f.buckets;
  p->furthest = f.furthest;
  if (f.content_to_position) p->keys = position_maps(w, a, table, prefix + f.key);
  if (f.position_to_content) p->queries = position_maps(w, a, table, prefix + f.query);
  return p;
}

AttentionPart read_attention(Weights& w,
                             const Blueprint& b,
                             const std::string& prefix,
                             const AttentionFacts& a,
                             const Norms& norms) {
  AttentionPart layer;
  AttentionWeights& to = layer.weights;
  to.heads = a.heads;
  to.groups = a.groups;
  to.width = a.width;
  to.value_width = a.value_width;
  to.clip = a.clip;
  const auto map = [&](const std::string& name, std::int64_t in, std::int64_t out) {
    return std::make_shared<const Linear>(w.linear(prefix + name, in, out));
  };
  if (a.latent) {
    to.latent = read_latent(w, b, a, prefix, b.norm.eps);
  } else if (a.layout == QkvLayout::kSeparate) {
    to.qkv = {map(a.query, b.width, a.heads * a.width),
              map(a.key, b.width, a.groups * a.width),
              map(a.value, b.width, a.groups * a.value_width)};
  } else {
    const std::int64_t out = (a.heads + a.groups) * a.width + a.groups * a.value_width;
    // Before an order of as many rows is made.
    if (a.layout != QkvLayout::kConcatenated)
      (void)w.at(prefix + a.fused + ".weight", {out, b.width});
    to.qkv = {std::make_shared<const Linear>(
        w.linear(prefix + a.fused, b.width, out, rows_of_layout(a)))};
  }
  to.output = map(a.output, a.heads * a.value_width, b.width);
  if (!a.rope.depends_on_length()) to.rotary = a.rope.at(1);
  read_head_norm(w, a, prefix, layer);
  if (a.disentangled) to.disentangled = read_disentangled(w, b, prefix, a);

  FocusOptions& o = layer.options;
  o.scale = a.scale;
  o.causal = a.causal;
  o.window_left = a.window_left;
  o.window_right = a.window_right;
  o.softcap = a.softcap;
  if (!a.slopes.empty() && !a.slopes_bf16) {
    layer.slopes = Tensor(DType::kF32, {a.heads});
    for (std::size_t h = 0; h < a.slopes.size(); ++h)
      layer.slopes.span<float>()[h] = a.slopes[h] * a.slopes_scale;
    o.slopes = std::as_const(layer.slopes).view<float, 1>();
  }
  if (!a.sinks.empty()) {
    layer.sinks = w.numbers(prefix + a.sinks, std::array{a.heads});
    o.sinks = std::as_const(layer.sinks).view<float, 1>();
  }
  if (!a.relative.table.empty())
    layer.relative = w.at(a.relative.table + ".weight", {a.relative.buckets, a.heads});
  const auto norm = [&](const std::string& name) {
    return name.empty() ? Norm() : w.norm(prefix + name, b.width, b.norm);
  };
  layer.before = norm(norms.before);
  layer.after = norm(norms.after);
  layer.over = norm(norms.over);
  return layer;
}

// Bucket of a key `distance` to the right of its row. In f32, as Transformers count: a bucket's edge
// depends on the rounding of its logarithm.
std::int64_t bucket(const RelativeFacts& f, std::int64_t distance) {
  const std::int64_t half = f.both_ways ? f.buckets / 2 : f.buckets;
  const std::int64_t base = f.both_ways && distance > 0 ? half : 0;
  const std::int64_t far = f.both_ways ? std::abs(distance) : std::max<std::int64_t>(0, -distance);
  const std::int64_t exact = half / 2;
  if (far < exact) return base + far;
  const auto widest =
      static_cast<float>(std::log(static_cast<double>(f.furthest) / static_cast<double>(exact)));
  const float steps = std::log(static_cast<float>(far) / static_cast<float>(exact)) / widest *
                      static_cast<float>(half - exact);
  return base + std::min(half - 1, exact + static_cast<std::int64_t>(steps));
}

}  // namespace

std::shared_ptr<const Layer> read_layer(Weights& w, const Blueprint& b, const LayerFacts& facts) {
  auto layer = std::make_shared<Layer>();
  layer->attention = read_attention(w, b, facts.prefix, facts.attention, facts.attention_norms);
  if (facts.cross)
    layer->cross = read_attention(w, b, facts.prefix, *facts.cross, facts.cross_norms);
  const auto norm = [&](const std::string& name) {
    return name.empty() ? Norm() : w.norm(facts.prefix + name, b.width, b.norm);
  };
  layer->mlp_before = norm(facts.mlp_norms.before);
  layer->mlp_after = norm(facts.mlp_norms.after);
  layer->mlp_over = norm(facts.mlp_norms.over);
  if (facts.mlp.experts)
    layer->experts.emplace(w, facts.mlp, facts.prefix, b.width);
  else
    layer->mlp.emplace(w, facts.mlp, facts.prefix, b.width, facts.mlp.width);
  return layer;
}

Tensor relative_bias(const AnyView& table,
                     const RelativeFacts& facts,
                     std::int64_t first,
                     std::int64_t Tq,
                     std::int64_t Tk) {
  const Tensor wide = Tensor::f32_from(table);
  const auto by_bucket = wide.view<float, 2>();
  Tensor bias(DType::kF32, {1, by_bucket.shape[1], Tq, Tk});
  const auto to = bias.view<float, 4>();
  for (std::int64_t i = 0; i < Tq; ++i) {
    for (std::int64_t j = 0; j < Tk; ++j) {
      const std::int64_t n = bucket(facts, j - first - i);
      for (std::int64_t h = 0; h < by_bucket.shape[1]; ++h) to(0, h, i, j) = by_bucket(n, h);
    }
  }
  return bias;
}

Tensor rounded_alibi(const AttentionFacts& a, std::int64_t Tk) {
  Tensor bias(DType::kF32, {1, a.heads, 1, Tk});
  const auto to = bias.view<float, 4>();
  for (std::int64_t h = 0; h < a.heads; ++h) {
    const float slope = to_f32(to_bf16(a.slopes[static_cast<std::size_t>(h)]));
    for (std::int64_t j = 0; j < Tk; ++j)
      to(0, h, 0, j) =
          to_f32(to_bf16(slope * to_f32(to_bf16(static_cast<float>(j))))) * a.slopes_scale;
  }
  return bias;
}

}  // namespace headscope::models
