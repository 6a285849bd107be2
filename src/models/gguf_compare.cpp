#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/gguf_config.h"

namespace headscope::models {

namespace {

/// Finds the first difference and keeps its name.
class Facts {
 public:
  template <typename T>
  void same(std::string_view name, const T& a, const T& b) {
    if (found_.empty() && a != b) found_ = where_ + std::string(name);
  }
  /// GGUF holds f32.
  void near(std::string_view name, double a, double b) {
    constexpr double kMost = 1e-6;
    if (found_.empty() && std::abs(a - b) > kMost * std::max(std::abs(a), std::abs(b)))
      found_ = where_ + std::string(name);
  }
  void enter(std::string where) { where_ = std::move(where); }
  [[nodiscard]] const std::string& found() const { return found_; }

 private:
  std::string where_, found_;
};

/// What turns by how much, at lengths on both sides of where that may change: files may say the
/// same in several ways.
void compare(Facts& facts, const Rope& a, const Rope& b, std::int64_t positions) {
  facts.same("rope.style", a.style, b.style);
  facts.same("rope.width", a.width, b.width);
  if (a.style == Rotary::Style::kNone || !facts.found().empty()) return;
  const auto original = static_cast<std::int64_t>(std::max(a.original, b.original));
  for (const std::int64_t length : {std::int64_t{1}, original, original + 1, positions}) {
    const Rotary x = a.at(length);
    const Rotary y = b.at(length);
    facts.near("rope.attention_factor", x.factor, y.factor);
    for (std::size_t m = 0; m < std::min(x.frequencies.size(), y.frequencies.size()); ++m)
      facts.near("rope", x.frequencies[m], y.frequencies[m]);
  }
}

double scale_of(const AttentionFacts& a) {
  return a.scale ? static_cast<double>(*a.scale) : 1.0 / std::sqrt(static_cast<double>(a.width));
}

void compare(Facts& facts, const AttentionFacts& a, const AttentionFacts& b, std::int64_t n) {
  facts.same("heads", a.heads, b.heads);
  facts.same("groups", a.groups, b.groups);
  facts.same("width", a.width, b.width);
  facts.same("value_width", a.value_width, b.value_width);
  facts.near("scale", scale_of(a), scale_of(b));
  facts.same("causal", a.causal, b.causal);
  facts.same("window_left", a.window_left, b.window_left);
  facts.same("window_right", a.window_right, b.window_right);
  facts.near("softcap", double{a.softcap}, double{b.softcap});
  facts.near("clip", double{a.clip}, double{b.clip});
  facts.same("slopes", a.slopes, b.slopes);
  facts.near("slopes_scale", double{a.slopes_scale}, double{b.slopes_scale});
  compare(facts, a.rope, b.rope, n);
  facts.same("relative", a.relative.table, b.relative.table);
  if (!a.relative.table.empty()) {
    facts.same("relative.buckets", a.relative.buckets, b.relative.buckets);
    facts.same("relative.furthest", a.relative.furthest, b.relative.furthest);
  }
  facts.same("qk_norm", a.qk_norm, b.qk_norm);
  facts.same("qk_norm_over", a.qk_norm_over, b.qk_norm_over);
  if (a.qk_norm != HeadNorm::Kind::kNone)
    facts.near("qk_norm_eps", double{a.qk_norm_eps}, double{b.qk_norm_eps});
  facts.same("latent", a.latent.has_value(), b.latent.has_value());
  if (a.latent && b.latent) {
    facts.same("latent.query_rank", a.latent->query_rank, b.latent->query_rank);
    facts.same("latent.rank", a.latent->rank, b.latent->rank);
    facts.same("latent.turned", a.latent->turned, b.latent->turned);
  }
  facts.same("disentangled", a.disentangled.has_value(), b.disentangled.has_value());
  facts.same("layout", a.layout, b.layout);
  facts.same("sinks", a.sinks, b.sinks);
}

void compare(Facts& facts, const ExpertFacts& a, const ExpertFacts& b) {
  facts.same("experts.count", a.count, b.count);
  facts.same("experts.chosen", a.chosen, b.chosen);
  facts.same("experts.width", a.width, b.width);
  facts.same("experts.scores", a.scores, b.scores);
  facts.same("experts.renormalise", a.renormalise, b.renormalise);
  facts.near("experts.scale", double{a.scale}, double{b.scale});
  facts.same("experts.groups", a.groups, b.groups);
  facts.same("experts.chosen_groups", a.chosen_groups, b.chosen_groups);
  if (a.groups > 1) facts.same("experts.group_best", a.group_best, b.group_best);
  facts.same("experts.correction", a.correction, b.correction);
  facts.same("experts.shared", a.shared, b.shared);
  facts.same("experts.shared_width", a.shared_width, b.shared_width);
  facts.same("experts.shared_gate", a.shared_gate, b.shared_gate);
}

void compare(Facts& facts, const MlpFacts& a, const MlpFacts& b) {
  facts.same("form", a.form, b.form);
  facts.same("activation", a.activation, b.activation);
  facts.same("experts", a.experts.has_value(), b.experts.has_value());
  if (a.experts && b.experts)
    compare(facts, *a.experts, *b.experts);
  else
    facts.same("width", a.width, b.width);
  if (a.form == MlpFacts::Form::kClamped) {
    facts.near("alpha", double{a.alpha}, double{b.alpha});
    facts.near("limit", double{a.limit}, double{b.limit});
  }
}

void compare(Facts& facts, std::string_view name, const Norms& a, const Norms& b) {
  facts.same(std::string(name) + ".before", a.before, b.before);
  facts.same(std::string(name) + ".after", a.after, b.after);
  facts.same(std::string(name) + ".over", a.over, b.over);
}

}  // namespace

std::string difference(const Blueprint& a, const Blueprint& b) {
  Facts facts;
  facts.same("width", a.width, b.width);
  facts.same("vocabulary", a.vocabulary, b.vocabulary);
  facts.same("positions", a.positions, b.positions);
  facts.same("position_rows", a.position_rows, b.position_rows);
  facts.same("position_rule", a.position_rule, b.position_rule);
  facts.same("types", a.types, b.types);
  facts.same("embedding_width", a.embedding_width, b.embedding_width);
  facts.near("embedding_scale", double{a.embedding_scale}, double{b.embedding_scale});
  facts.same("norm.kind", a.norm.kind, b.norm.kind);
  facts.near("norm.eps", double{a.norm.eps}, double{b.norm.eps});
  facts.same("norm.bare", a.norm.bare, b.norm.bare);
  facts.same("parallel", a.parallel, b.parallel);
  facts.same("residual_normed", a.residual_normed, b.residual_normed);
  facts.near("residual_scale", double{a.residual_scale}, double{b.residual_scale});
  facts.same("embedding_norm", a.embedding_norm, b.embedding_norm);
  facts.same("final_norm", a.final_norm, b.final_norm);
  facts.near("logit_scale", double{a.logit_scale}, double{b.logit_scale});
  facts.near("logit_softcap", double{a.logit_softcap}, double{b.logit_softcap});
  facts.same("layers", a.layers.size(), b.layers.size());
  for (std::size_t n = 0; n < std::min(a.layers.size(), b.layers.size()); ++n) {
    const LayerFacts& x = a.layers[n];
    const LayerFacts& y = b.layers[n];
    facts.enter(fmt::format("layer {}: attention.", n));
    compare(facts, x.attention, y.attention, a.positions);
    facts.enter(fmt::format("layer {}: mlp.", n));
    compare(facts, x.mlp, y.mlp);
    facts.enter(fmt::format("layer {}: ", n));
    compare(facts, "attention_norms", x.attention_norms, y.attention_norms);
    compare(facts, "mlp_norms", x.mlp_norms, y.mlp_norms);
  }
  return facts.found();
}

}  // namespace headscope::models
