#include "models/biases.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace headscope::models {

namespace {

enum class Bias : std::uint8_t {
  kFree,          ///< where the file has one
  kTogether,      ///< all of these maps have one, or none of them: config.json chooses
  kByThemselves,  ///< likewise of the maps of MLPs, whatever those of attention have
  kAlways,
};

struct Rule {
  std::string_view family;
  Bias queries = Bias::kFree, keys = Bias::kFree, output = Bias::kFree, mlp = Bias::kFree;
};

using enum Bias;

// Source  the classes of these names in Transformers. Values have what queries have.
constexpr Rule kRules[] = {{"albert", kAlways, kAlways, kAlways, kAlways},
                           {"bart", kAlways, kAlways, kAlways, kAlways},
                           {"beit", kAlways, kFree, kAlways, kAlways},
                           {"bert", kAlways, kAlways, kAlways, kAlways},
                           {"bloom", kAlways, kAlways, kAlways, kAlways},
                           {"clip", kAlways, kAlways, kAlways, kAlways},
                           {"clip_text_model", kAlways, kAlways, kAlways, kAlways},
                           {"clip_vision_model", kAlways, kAlways, kAlways, kAlways},
                           {"codegen", kFree, kFree, kFree, kAlways},
                           {"cohere", kTogether, kTogether, kTogether},
                           {"cohere2", kTogether, kTogether, kTogether},
                           {"deberta-v2", kAlways, kAlways, kAlways, kAlways},
                           {"deit", kTogether, kTogether, kAlways, kAlways},
                           {"dinov2", kTogether, kTogether, kAlways, kAlways},
                           {"dinov2_with_registers", kTogether, kTogether, kAlways, kAlways},
                           {"distilbert", kAlways, kAlways, kAlways, kAlways},
                           {"electra", kAlways, kAlways, kAlways, kAlways},
                           {"falcon", kTogether, kTogether, kTogether, kTogether},
                           {"gemma", kTogether, kTogether},
                           {"gemma2", kTogether, kTogether},
                           {"gemma3", kTogether, kTogether},
                           {"gemma3_text", kTogether, kTogether},
                           {"glm", kTogether, kTogether},
                           {"glm4", kTogether, kTogether},
                           {"gpt2", kAlways, kAlways, kAlways, kAlways},
                           {"gpt_neo", kFree, kFree, kAlways, kAlways},
                           {"gpt_neox", kTogether, kTogether, kTogether, kAlways},
                           {"gpt_oss", kTogether, kTogether, kTogether},
                           {"gptj", kFree, kFree, kFree, kAlways},
                           {"granite", kTogether, kTogether, kFree, kByThemselves},
                           {"llama", kTogether, kTogether, kFree, kByThemselves},
                           {"marian", kAlways, kAlways, kAlways, kAlways},
                           {"mbart", kAlways, kAlways, kAlways, kAlways},
                           {"mistral", kTogether, kTogether},
                           {"mpnet", kAlways, kAlways, kAlways, kAlways},
                           {"nemotron", kTogether, kTogether, kFree, kByThemselves},
                           {"olmo", kTogether, kTogether},
                           {"olmo2", kTogether, kTogether},
                           {"olmo3", kTogether, kTogether},
                           {"opt", kTogether, kTogether, kTogether, kTogether},
                           {"phi", kAlways, kAlways, kAlways, kAlways},
                           {"qwen2", kAlways, kAlways},
                           {"qwen2_moe", kTogether, kTogether},
                           {"qwen3", kTogether, kTogether, kTogether},
                           {"qwen3_moe", kTogether, kTogether, kTogether},
                           {"roberta", kAlways, kAlways, kAlways, kAlways},
                           {"siglip", kAlways, kAlways, kAlways, kAlways},
                           {"siglip_text_model", kAlways, kAlways, kAlways, kAlways},
                           {"siglip_vision_model", kAlways, kAlways, kAlways, kAlways},
                           {"smollm3", kTogether, kTogether, kFree, kByThemselves},
                           {"stablelm", kTogether, kTogether},
                           {"starcoder2", kTogether, kTogether, kTogether, kTogether},
                           {"swin", kTogether, kTogether, kAlways, kAlways},
                           {"timesformer", kTogether, kTogether, kAlways, kAlways},
                           {"videomae", kTogether, kFree, kAlways, kAlways},
                           {"vit", kTogether, kTogether, kAlways, kAlways},
                           {"whisper", kAlways, kFree, kAlways, kAlways}};

/// Families whose layer norms have weights alone, or a bias where config.json says so.
constexpr std::string_view kBareNorms[] = {"cohere", "cohere2", "modernbert", "mpt"};

class Expectation {
 public:
  /// Told that maps of attention, or of MLPs, have biases, it looks for all of them.
  Expectation(const Weights& weights, bool attention, bool mlp) : weights_(weights) {
    all_.some = attention;
    mlps_.some = mlp;
  }

  void add(const std::string& name, Bias bias) {
    if (name.empty()) return;
    if (bias == kAlways && !has(name)) (void)weights_.at(name + ".bias");
    if (bias != kTogether && bias != kByThemselves) return;
    Group& group = bias == kTogether ? all_ : mlps_;
    group.names.push_back(name);
    group.some = group.some || has(name);
  }
  void settle() const {
    for (const Group* group : {&all_, &mlps_}) {
      for (const std::string& name : group->names) {
        if (group->some && !has(name)) (void)weights_.at(name + ".bias");
      }
    }
  }

 private:
  // Files of 2018 say beta.
  [[nodiscard]] bool has(const std::string& name) const {
    return weights_.find(name + ".bias") != nullptr || weights_.find(name + ".beta") != nullptr;
  }
  const Weights& weights_;
  struct Group {
    std::vector<std::string> names{};
    bool some = false;
  };
  Group all_, mlps_;
};

void add(Expectation& e, const Rule& rule, const std::string& prefix, const AttentionFacts& a) {
  const auto put = [&](const std::string& name, Bias bias) {
    if (!name.empty()) e.add(prefix + name, bias);
  };
  if (a.latent) return;
  if (a.layout == QkvLayout::kSeparate) {
    put(a.query, rule.queries);
    put(a.key, rule.keys);
    put(a.value, rule.queries);
  } else {
    put(a.fused, rule.queries);
  }
  put(a.output, rule.output);
  if (!a.disentangled) return;
  const DisentangledFacts& d = *a.disentangled;
  e.add(d.norm, kAlways);
  if (d.content_to_position) put(d.key, kAlways);
  if (d.position_to_content) put(d.query, kAlways);
}

// Of gpt-oss; stacked experts are never without.
void add_experts(Expectation& e, const std::string& prefix, const MlpFacts& mlp) {
  const ExpertFacts& experts = *mlp.experts;
  e.add(prefix + experts.router, kAlways);
  for (std::int64_t n = 0; n < experts.count && !experts.prefix.empty(); ++n) {
    const std::string own = prefix + fmt::format(fmt::runtime(experts.prefix), n);
    for (const std::string* name : {&mlp.gate, &mlp.up, &mlp.down}) e.add(own + *name, kAlways);
  }
}

// What stands before the layers and behind them.
void add_ends(Expectation& e, const Weights& weights, const Blueprint& b) {
  if (b.family == "albert" || b.family == "electra") e.add(b.embedding_projection, kAlways);
  if (b.convolution) {
    e.add(b.convolution->name, kAlways);
    e.add(b.convolution->norm, kAlways);
  }
  if (!b.pooler.empty() && weights.find(b.pooler + ".weight") != nullptr) e.add(b.pooler, kAlways);
}

void add_norms(Expectation& e, const Blueprint& b) {
  e.add(b.embedding_norm, kAlways);
  for (const LayerFacts& layer : b.layers) {
    for (const Norms* norms : {&layer.attention_norms, &layer.cross_norms, &layer.mlp_norms}) {
      for (const std::string* name : {&norms->before, &norms->after, &norms->over}) {
        if (!name->empty()) e.add(layer.prefix + *name, kAlways);
      }
    }
  }
  e.add(b.final_norm, kAlways);
}

}  // namespace

void expect_biases(const Weights& weights, const Blueprint& b) {
  Expectation e(weights, b.attention_biases, b.mlp_biases);
  const auto* rule = std::find_if(
      std::begin(kRules), std::end(kRules), [&](const Rule& r) { return r.family == b.family; });
  if (rule != std::end(kRules)) {
    for (const LayerFacts& layer : b.layers) {
      add(e, *rule, layer.prefix, layer.attention);
      if (layer.cross) add(e, *rule, layer.prefix, *layer.cross);
      const AttentionFacts& a = layer.attention;
      if (b.family == "phi" && a.qk_norm != HeadNorm::Kind::kNone) {
        e.add(layer.prefix + a.query_norm, kAlways);
        e.add(layer.prefix + a.key_norm, kAlways);
      }
      if (layer.mlp.experts) {
        if (b.family == "gpt_oss") add_experts(e, layer.prefix, layer.mlp);
        continue;
      }
      const MlpFacts& mlp = layer.mlp;
      const bool gated = mlp.form != MlpFacts::Form::kPlain;
      if (!mlp.gate_up.empty()) e.add(layer.prefix + mlp.gate_up, rule->mlp);
      if (mlp.gate_up.empty()) e.add(layer.prefix + mlp.up, rule->mlp);
      if (mlp.gate_up.empty() && gated) e.add(layer.prefix + mlp.gate, rule->mlp);
      e.add(layer.prefix + mlp.down, rule->mlp);
    }
  }
  add_ends(e, weights, b);
  const bool bare = b.norm.bare || b.norm.kind != HeadNorm::Kind::kLayer ||
                    std::count(std::begin(kBareNorms), std::end(kBareNorms), b.family) > 0;
  if (!bare) add_norms(e, b);
  e.settle();
}

void promise_biases(const json::Value& config, Blueprint& b) {
  const json::Value* inner = json::find(config, "text_config", "config.json");
  const auto says = [&](const char* key) {
    for (const json::Value* words : {&config, inner}) {
      if (words == nullptr || !words->is_object()) continue;
      const auto found = words->find(key);
      if (found != words->end() && found->is_boolean() && found->get<bool>()) return true;
    }
    return false;
  };
  // The word of a family's own; Mistral's class in Transformers has no biases, whatever config.json says.
  constexpr std::pair<std::string_view, const char*> kWords[] = {{"falcon", "bias"},
                                                                 {"mistral", ""},
                                                                 {"opt", "enable_bias"},
                                                                 {"stablelm", "use_qkv_bias"},
                                                                 {"starcoder2", "use_bias"}};
  const auto own = std::ranges::find(kWords, b.family, [](const auto& pair) { return pair.first; });
  b.attention_biases = own != std::end(kWords)
                           ? says(own->second)
                           : says("attention_bias") || says("qkv_bias") || says("qv_bias");
  b.mlp_biases = says("mlp_bias");
}

void expect_bias(const Weights& weights, const std::string& name) {
  if (weights.find(name + ".beta") == nullptr) (void)weights.at(name + ".bias");
}

void expect_biases(const Weights& weights, std::string_view family, const HeadBlueprint& head) {
  constexpr std::string_view kEverywhere[] = {
      "albert", "bert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta"};
  // Of BART the numbers are zeros that its files may leave out; Marian learns them. ModernBERT's config.json says
  // which of its maps have biases, and so whether the last one's has a name.
  constexpr std::string_view kOut[] = {"codegen", "gptj", "marian", "modernbert", "phi"};
  const auto is_in = [&](const auto& list) {
    return std::find(std::begin(list), std::end(list), family) != std::end(list);
  };
  const bool all = is_in(kEverywhere) || (family.ends_with("t5") && head.out == "classifier");
  for (const std::string* name : {&head.dense, &head.norm}) {
    if (all && !name->empty()) expect_bias(weights, *name);
  }
  if (!all && !is_in(kOut)) return;
  if (head.out_bias.empty()) {
    if (family != "modernbert") expect_bias(weights, head.out);
  } else if (weights.find(head.out + ".bias") == nullptr) {
    (void)weights.at(head.out_bias);
  }
}

}  // namespace headscope::models
