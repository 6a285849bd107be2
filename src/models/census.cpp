#include "models/census.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "models/model_files.h"
#include "models/words.h"

namespace headscope::models {

namespace {

using Kind = WantedTensor::Kind;

/// Walks a blueprint as the code does that reads its weights.
class Walker {
 public:
  Walker(const Blueprint& b, const json::Value& config) : b_(b), config_(config) {}

  Census take(const std::string& architecture) {
    embeddings();
    for (const LayerFacts& layer : b_.layers) {
      attention(layer.prefix, layer.attention, layer.attention_norms);
      if (layer.cross) attention(layer.prefix, *layer.cross, layer.cross_norms);
      if (layer.mlp.experts)
        experts(layer.prefix, layer.mlp, *layer.mlp.experts);
      else
        mlp(layer.mlp, layer.prefix, layer.mlp.width, 1.0);
      norms(layer.prefix, layer.mlp_norms);
    }
    if (b_.convolution) {
      const ConvolutionFacts& c = *b_.convolution;
      add(c.name + ".weight", {b_.width, b_.width / c.groups, c.kernel}, Kind::kMatrix);
      add(c.name + ".bias", {b_.width}, Kind::kBias);
      out_.products += static_cast<double>(b_.width * b_.width / c.groups * c.kernel);
      norm(c.norm, b_.width);
    }
    norm(b_.final_norm, b_.width);
    if (!b_.final_projection.empty()) map(b_.final_projection, b_.width, embedded());
    top(architecture);
    return std::move(out_);
  }

 private:
  [[nodiscard]] std::int64_t embedded() const {
    return b_.embedding_width > 0 ? b_.embedding_width : b_.width;
  }

  void add(const std::string& name, Shape shape, Kind kind) {
    if (!names_.insert(name).second) return;
    double numbers = 1.0;
    for (const std::int64_t n : shape) numbers *= static_cast<double>(n);
    sum_ += numbers;
    if (sum_ > 0x1p62) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format(
              "[config.json] expected at most 2^62 numbers, found {:.3g} with {}", sum_, name));
    }
    out_.tensors.push_back({name, std::move(shape), kind});
  }

  void norm(const std::string& name, std::int64_t width) {
    if (name.empty() || b_.norm.bare) return;
    add(name + ".weight", {width}, Kind::kNorm);
    if (b_.norm.kind == HeadNorm::Kind::kLayer && biased(config_, name))
      add(name + ".bias", {width}, Kind::kBias);
  }

  void norms(const std::string& prefix, const Norms& n) {
    for (const std::string* name : {&n.before, &n.after, &n.over}) {
      if (!name->empty()) norm(prefix + *name, b_.width);
    }
  }

  /// `share`: of tokens that go through it.
  void map(const std::string& name, std::int64_t in, std::int64_t out, double share = 1.0) {
    const bool turned = b_.matrices == Linear::Layout::kInOut;
    add(name + ".weight", turned ? Shape{in, out} : Shape{out, in}, Kind::kMatrix);
    if (biased(config_, name)) add(name + ".bias", {out}, Kind::kBias);
    out_.products += share * static_cast<double>(in) * static_cast<double>(out);
  }

  void embeddings() {
    const std::int64_t E = embedded();
    if (!b_.word_embeddings.empty())
      add(b_.word_embeddings + ".weight", {b_.vocabulary, E}, Kind::kTable);
    if (b_.position_rows > 0 && !b_.sinusoids) {
      add(b_.position_embeddings + ".weight",
          {b_.position_rows, b_.position_width()},
          Kind::kTable);
    }
    if (b_.types > 0) add(b_.type_embeddings + ".weight", {b_.types, E}, Kind::kTable);
    norm(b_.embedding_norm, b_.norm_after_projection ? b_.width : E);
    if (!b_.embedding_projection.empty()) map(b_.embedding_projection, E, b_.width);
  }

  void attention(const std::string& prefix, const AttentionFacts& a, const Norms& around) {
    const std::int64_t C = b_.width;
    if (a.latent) {
      latent(prefix, a, *a.latent);
    } else if (a.layout == QkvLayout::kSeparate) {
      map(prefix + a.query, C, a.heads * a.width);
      map(prefix + a.key, C, a.groups * a.width);
      map(prefix + a.value, C, a.groups * a.value_width);
    } else {
      map(prefix + a.fused, C, (a.heads + a.groups) * a.width + a.groups * a.value_width);
    }
    map(prefix + a.output, a.heads * a.value_width, C);
    head_norm(prefix + a.query_norm, a, a.heads);
    head_norm(prefix + a.key_norm, a, a.groups);
    if (!a.sinks.empty()) add(prefix + a.sinks, {a.heads}, Kind::kOther);
    if (!a.relative.table.empty())
      add(a.relative.table + ".weight", {a.relative.buckets, a.heads}, Kind::kTable);
    if (a.disentangled) {
      const DisentangledFacts& d = *a.disentangled;
      add(d.table + ".weight", {2 * d.span, C}, Kind::kTable);
      norm(d.norm, C);
      // Positions go through their maps once, not with every token.
      const double before = out_.products;
      if (d.content_to_position) map(prefix + d.key, C, a.heads * a.width);
      if (d.position_to_content) map(prefix + d.query, C, a.heads * a.width);
      out_.products = before;
    }
    norms(prefix, around);
  }

  void latent(const std::string& prefix, const AttentionFacts& a, const LatentFacts& f) {
    const std::int64_t own = a.width - f.turned;
    if (f.query_rank > 0) {
      map(prefix + f.query_down, b_.width, f.query_rank);
      add(prefix + f.query_norm + ".weight", {f.query_rank}, Kind::kNorm);
      map(prefix + f.query_up, f.query_rank, a.heads * a.width);
    } else {
      map(prefix + a.query, b_.width, a.heads * a.width);
    }
    map(prefix + f.down, b_.width, f.rank + f.turned);
    add(prefix + f.norm + ".weight", {f.rank}, Kind::kNorm);
    map(prefix + f.up, f.rank, a.heads * (own + a.value_width));
  }

  void head_norm(const std::string& name, const AttentionFacts& a, std::int64_t heads) {
    if (a.qk_norm == HeadNorm::Kind::kNone) return;
    if (name.find("{}") != std::string::npos) {
      for (std::int64_t h = 0; h < heads; ++h)
        add(fmt::format(fmt::runtime(name), h) + ".weight", {a.width}, Kind::kNorm);
      return;
    }
    // Cohere's norm is over each head, with weights of every head's own.
    const bool own = a.qk_norm_over == HeadNorm::Over::kAllHeads || b_.family.starts_with("cohere");
    const Shape shape = !own                              ? Shape{a.width}
                        : b_.family.starts_with("cohere") ? Shape{heads, a.width}
                                                          : Shape{heads * a.width};
    add(name + ".weight", shape, Kind::kNorm);
    if (a.qk_norm == HeadNorm::Kind::kLayer && biased(config_, name))
      add(name + ".bias", shape, Kind::kBias);
  }

  void mlp(const MlpFacts& facts, const std::string& prefix, std::int64_t width, double share) {
    const std::int64_t C = b_.width;
    if (!facts.gate_up.empty()) {
      map(prefix + facts.gate_up, C, 2 * width, share);
    } else {
      if (facts.form != MlpFacts::Form::kPlain) map(prefix + facts.gate, C, width, share);
      map(prefix + facts.up, C, width, share);
    }
    map(prefix + facts.down, width, C, share);
  }

  void experts(const std::string& prefix, const MlpFacts& facts, const ExpertFacts& f) {
    const std::int64_t C = b_.width;
    map(prefix + f.router, C, f.count);
    if (!f.correction.empty()) add(prefix + f.correction, {f.count}, Kind::kOther);
    const double share = static_cast<double>(f.chosen) / static_cast<double>(f.count);
    if (f.prefix.empty()) {
      stacked(prefix + facts.gate_up, f, C, 2 * f.width);
      stacked(prefix + facts.down, f, f.width, C);
    } else {
      for (std::int64_t e = 0; e < f.count; ++e)
        mlp(facts, prefix + fmt::format(fmt::runtime(f.prefix), e), f.width, share);
    }
    if (!f.shared.empty()) mlp(facts, prefix + f.shared, f.shared_width, 1.0);
    if (!f.shared_gate.empty()) map(prefix + f.shared_gate, C, 1);
  }

  void stacked(const std::string& name, const ExpertFacts& f, std::int64_t in, std::int64_t out) {
    add(name, {f.count, in, out}, Kind::kMatrix);
    add(name + "_bias", {f.count, out}, Kind::kBias);
    out_.products += static_cast<double>(f.chosen * in * out);
  }

  void top(const std::string& architecture) {
    const std::int64_t C = b_.final_projection.empty() ? b_.width : embedded();
    const HeadBlueprint* head = head_of(b_, architecture);
    const bool bare = architecture.empty() || architecture.ends_with("Model");
    const bool pooled = head != nullptr ? head->from == HeadBlueprint::From::kPooler ||
                                              architecture.ends_with("ForPreTraining")
                                        : bare;
    if (!b_.pooler.empty() && pooled) map(b_.pooler, C, C);
    if (head == nullptr) return;
    std::int64_t width = C;
    if (!head->dense.empty()) {
      width = head->dense_width > 0 ? head->dense_width : C;
      outside(head->dense, C, width);
    }
    norm(head->norm, width);
    const std::int64_t classes = classes_of(*head, architecture);
    if (!head->tied) outside(head->out, width, classes, false);
    out_.products += head->tied ? static_cast<double>(width * classes) : 0.0;
    const std::string bias = head->out_bias.empty() ? head->out + ".bias" : head->out_bias;
    if (biased(config_, head->out)) add(bias, {classes}, Kind::kBias);
  }

  /// A map on top: its matrix is [out,in] in every family.
  void outside(const std::string& name, std::int64_t in, std::int64_t out, bool bias = true) {
    add(name + ".weight", {out, in}, Kind::kMatrix);
    if (bias && biased(config_, name)) add(name + ".bias", {out}, Kind::kBias);
    out_.products += static_cast<double>(in) * static_cast<double>(out);
  }

  [[nodiscard]] std::int64_t classes_of(const HeadBlueprint& head,
                                        const std::string& architecture) const {
    if (head.tied || b_.causal_head) return b_.vocabulary;
    if (architecture.ends_with("ForPreTraining")) return 1;
    if (architecture.ends_with("ForNextSentencePrediction") ||
        architecture.ends_with("ForQuestionAnswering"))
      return 2;
    const auto names = static_cast<std::int64_t>(read_labels(config_).size());
    return json::get_or<std::int64_t>(config_, "num_labels", names > 0 ? names : 2, "config.json");
  }

  const Blueprint& b_;
  const json::Value& config_;
  Census out_;
  std::set<std::string> names_;
  double sum_ = 0.0;
};

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool decoder_biased(const json::Value& config, std::string_view type, std::string_view name) {
  const auto ends = [&](std::string_view ending) { return name.ends_with(ending); };
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  const bool norm = has("norm") || has("ln_");
  const bool qkv = ends("q_proj") || ends("k_proj") || ends("v_proj");
  const bool attention = has("attn.") || has("attention.");
  if (is_one_of(type, {"gpt2", "bloom", "gpt_neox", "gpt_neo", "gptj", "codegen", "phi"})) {
    if (ends("lm_head")) return is_one_of(type, {"gptj", "codegen", "phi"});
    if (ends("embed_out")) return false;
    if (norm || !attention) return true;
    if (type == "gpt_neox") return flag_or(config, "attention_bias", true);
    if (type == "gpt_neo") return ends("out_proj");
    return !is_one_of(type, {"gptj", "codegen"});
  }
  if (is_one_of(type, {"falcon", "nemotron", "stablelm", "starcoder2", "opt"}) && norm)
    return !has("layernorm.norms");
  if (ends("lm_head")) return false;
  if (type == "falcon") return flag_or(config, "bias", false);
  if (type == "opt") return flag_or(config, "enable_bias", true) && !has("project_");
  if (type == "stablelm") return qkv && flag_or(config, "use_qkv_bias", false);
  if (type == "starcoder2") return flag_or(config, "use_bias", true);
  if (norm) return false;
  if (type == "qwen2") return qkv;
  if (type == "qwen2_moe") return qkv && flag_or(config, "qkv_bias", true);
  if (is_one_of(type, {"glm", "glm4"})) return qkv && flag_or(config, "attention_bias", false);
  if (type == "gpt_oss") return !attention || flag_or(config, "attention_bias", true);
  if (type.starts_with("deepseek") && attention) {
    const bool may = ends("q_a_proj") || ends("kv_a_proj_with_mqa") || ends("o_proj");
    return may && flag_or(config, "attention_bias", false);
  }
  if (is_one_of(type, {"mixtral", "phi3", "mpt"}) || has("gate.")) return false;
  if (attention) return flag_or(config, "attention_bias", false);
  return has("mlp.") && !has("experts") && flag_or(config, "mlp_bias", false);
}

}  // namespace

bool biased(const json::Value& config, std::string_view name) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  if (is_one_of(type,
                {"albert", "bert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta"}))
    return true;
  if (type != "modernbert") return decoder_biased(config, type, name);
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  if (name.ends_with("decoder")) return flag_or(config, "decoder_bias", true);
  if (name.ends_with("head.dense")) return flag_or(config, "classifier_bias", false);
  if (name.ends_with("norm")) return flag_or(config, "norm_bias", false);
  if (has("attn.")) return flag_or(config, "attention_bias", false);
  if (has("mlp.")) return flag_or(config, "mlp_bias", false);
  return true;
}

std::int64_t WantedTensor::size() const {
  std::int64_t n = 1;
  for (const std::int64_t axis : shape) n *= axis;
  return n;
}

std::int64_t Census::parameters() const {
  std::int64_t sum = 0;
  for (const WantedTensor& tensor : tensors) sum += tensor.size();
  return sum;
}

std::uint64_t Census::bytes(DType dtype) const {
  std::uint64_t sum = 0;
  for (const WantedTensor& tensor : tensors) {
    const DType own = kept_as(tensor, dtype);
    sum += bytes_of(own, tensor.size());
  }
  return sum;
}

DType kept_as(const WantedTensor& tensor, DType dtype) {
  if (tensor.kind != Kind::kMatrix && tensor.kind != Kind::kTable) return DType::kF32;
  if (!is_quantised(dtype)) return dtype;
  constexpr std::int64_t kBlock = 32;
  return tensor.shape.size() == 2 && tensor.shape.back() % kBlock == 0 ? dtype : DType::kF16;
}

const HeadBlueprint* head_of(const Blueprint& blueprint, std::string_view architecture) {
  const bool first = architecture.empty() && blueprint.causal_head;
  const auto found = std::ranges::find_if(blueprint.heads_on_top, [&](const HeadBlueprint& head) {
    return first || architecture.ends_with(head.architecture);
  });
  return found == blueprint.heads_on_top.end() ? nullptr : &*found;
}

Census census(const Blueprint& blueprint,
              const json::Value& config,
              const std::string& architecture) {
  return Walker(blueprint, config).take(architecture);
}

}  // namespace headscope::models
