#include "models/blueprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "formats/edit_distance.h"
#include "headscope/model.h"
#include "models/biases.h"
#include "models/families.h"
#include "models/pruned.h"
#include "models/towers.h"

namespace headscope {

namespace models {

namespace {

struct Family {
  const char* model_type;
  ReadBlueprint read;
};

constexpr Family kFamilies[] = {{"albert", albert},
                                {"bert", bert},
                                {"bloom", bloom},
                                {"codegen", codegen},
                                {"cohere", cohere},
                                {"cohere2", cohere2},
                                {"deberta-v2", deberta_v2},
                                {"deepseek_v2", deepseek_v2},
                                {"deepseek_v3", deepseek_v3},
                                {"distilbert", distilbert},
                                {"electra", electra},
                                {"falcon", falcon},
                                {"gemma", gemma},
                                {"gemma2", gemma2},
                                {"gemma3", gemma3_text},
                                {"gemma3_text", gemma3_text},
                                {"glm", glm},
                                {"glm4", glm4},
                                {"gpt2", gpt2},
                                {"gpt_neo", gpt_neo},
                                {"gpt_neox", gpt_neox},
                                {"gpt_oss", gpt_oss},
                                {"gptj", gptj},
                                {"granite", granite},
                                {"llama", llama},
                                {"mistral", mistral},
                                {"mixtral", mixtral},
                                {"modernbert", modernbert},
                                {"mpnet", mpnet},
                                {"mpt", mpt},
                                {"nemotron", nemotron},
                                {"olmo", olmo},
                                {"olmo2", olmo2},
                                {"olmo3", olmo3},
                                {"opt", opt},
                                {"phi", phi},
                                {"phi3", phi3},
                                {"qwen2", qwen2},
                                {"qwen2_moe", qwen2_moe},
                                {"qwen3", qwen3},
                                {"qwen3_moe", qwen3_moe},
                                {"roberta", roberta},
                                {"smollm3", smollm3},
                                {"stablelm", stablelm},
                                {"starcoder2", starcoder2}};

struct PairFamily {
  const char* model_type;
  PairBlueprint (*read)(const json::Value& config);
};

constexpr PairFamily kPairs[] = {{"bart", bart},
                                 {"marian", marian},
                                 {"mbart", mbart},
                                 {"mt5", mt5},
                                 {"t5", t5},
                                 {"umt5", umt5},
                                 {"whisper", whisper}};

void apply(const Stored& stored, Blueprint& b) {
  if (stored.out_in) b.matrices = Linear::Layout::kOutIn;
  if (stored.ones_added) b.norm.plus_one = false;
  for (LayerFacts& layer : b.layers) {
    AttentionFacts& a = layer.attention;
    if (stored.ones_added) a.qk_norm_plus_one = false;
    if (stored.pairs_as_neighbours && a.rope.style != Rotary::Style::kNone)
      a.rope.style = Rotary::Style::kGptj;
    if (stored.qkv_concatenated && a.layout != QkvLayout::kSeparate)
      a.layout = QkvLayout::kConcatenated;
    MlpFacts& mlp = layer.mlp;
    if (stored.experts_apart && mlp.experts && mlp.experts->prefix.empty()) {
      mlp.experts->prefix = "mlp.experts.{}.";
      mlp.gate_up.clear();
      mlp.gate = "gate_proj";
      mlp.up = "up_proj";
      mlp.down = "down_proj";
    }
  }
}

[[noreturn]] void unfit(const std::string& what) {
  throw Error(ErrorCode::kFormat, "[config.json] expected " + what);
}

void check(const AttentionFacts& a) {
  if (a.heads > 65536) unfit(fmt::format("at most 65536 heads, found {}", a.heads));
  if (a.heads % a.groups != 0)
    unfit(fmt::format("{} key/value heads to divide {} heads", a.groups, a.heads));
  if (a.layout == QkvLayout::kFourShards && a.heads % 4 != 0)
    unfit(fmt::format("heads in multiples of 4, found {}", a.heads));
  if (a.width > (1 << 16) || a.value_width > (1 << 16))
    unfit(fmt::format("heads at most 65536 wide, found {}", std::max(a.width, a.value_width)));
  if (a.rope.style != Rotary::Style::kNone && (a.rope.width < 2 || a.rope.width > a.width))
    unfit(fmt::format("2 to {} numbers of a head to turn, found {}", a.width, a.rope.width));
  if (!a.relative.table.empty()) {
    const std::int64_t exact = a.relative.buckets / (a.relative.both_ways ? 4 : 2);
    if (exact < 1 || a.relative.furthest <= exact)
      unfit(fmt::format("4 buckets of distance or more, the last beyond {}, found {} up to {}",
                        exact,
                        a.relative.buckets,
                        a.relative.furthest));
  }
  for (const double x : {double{a.scale.value_or(1.0F)}, double{a.softcap}, double{a.clip}}) {
    if (!std::isfinite(x)) unfit(fmt::format("finite numbers, found {}", x));
  }
}

void check(const ExpertFacts& f) {
  if (f.count > 65536 || f.chosen > f.count)
    unfit(fmt::format("at most 65536 experts and {} of them for a token", f.count));
  if (f.groups > f.count || f.count % f.groups != 0 || f.chosen_groups > f.groups)
    unfit(fmt::format("{} groups to divide {} experts", f.groups, f.count));
  if (f.chosen > f.chosen_groups * (f.count / f.groups))
    unfit(fmt::format("{} experts in {} groups", f.chosen, f.chosen_groups));
}

}  // namespace

Blueprint read_blueprint(const json::Value& config, const Stored& stored) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  for (const Family& family : kFamilies) {
    if (type == family.model_type) {
      Blueprint b = family.read(config);
      promise_biases(config, b);
      apply(stored, b);
      leave_out_heads(config, b);
      check(b);
      return b;
    }
  }
  const std::vector<std::string> known = families();
  // A name that goes on from it comes first; of names equally far away, the one that begins as it does.
  const auto distance = [&](const std::string& name) {
    const std::string_view own = std::string_view(type).substr(0, 64);
    const auto same = std::ranges::mismatch(name, own).in1 - name.begin();
    return std::tuple(!name.starts_with(own), edit_distance(own, name), -same);
  };
  const auto nearest = std::ranges::min_element(known, {}, distance);
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "[config.json] expected model_type to be one of {}, found {}; the nearest is \"{}\"",
          fmt::join(known, ", "),
          json::quote(type),
          *nearest));
}

std::optional<PairBlueprint> read_pair(const json::Value& config) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  const auto family = std::ranges::find(kPairs, type, &PairFamily::model_type);
  if (family == std::end(kPairs)) return {};
  PairBlueprint p = family->read(config);
  if (!pruned_heads(config).empty()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[config.json] expected no pruned_heads in a {}, found some", type));
  }
  check(p.encoder);
  check(p.decoder);
  if (p.start_token < 0 || p.start_token >= p.decoder.vocabulary)
    unfit(fmt::format(
        "decoder_start_token_id 0..{}, found {}", p.decoder.vocabulary - 1, p.start_token));
  return p;
}

void check(const Blueprint& b) {
  if (b.types < 0 || b.types > (1 << 28))
    unfit(fmt::format("0..2^28 token types, found {}", b.types));
  if (!std::isfinite(b.norm.eps) || b.norm.eps < 0.0F)
    unfit(fmt::format("a finite eps of norms, found {}", b.norm.eps));
  for (const float x : {b.logit_scale, b.residual_scale, b.embedding_scale, b.logit_softcap}) {
    if (!std::isfinite(x)) unfit(fmt::format("finite multipliers, found {}", x));
  }
  for (const LayerFacts& layer : b.layers) {
    check(layer.attention);
    if (layer.cross) check(*layer.cross);
    if (layer.mlp.experts) check(*layer.mlp.experts);
  }
}

}  // namespace models

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& family : models::kFamilies) names.emplace_back(family.model_type);
  for (const auto& family : models::kPairs) names.emplace_back(family.model_type);
  for (auto& name : models::vision_families()) names.push_back(std::move(name));
  for (auto& name : models::tower_families()) names.push_back(std::move(name));
  std::ranges::sort(names);
  return names;
}

}  // namespace headscope
