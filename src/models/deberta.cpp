// DeBERTa v2 and v3: He 2021. An encoder whose heads compare what tokens are and where they are apart.
#include <fmt/format.h>

#include <cmath>
#include <sstream>

#include "models/families.h"

namespace headscope::models {

namespace {

// A list, or words between bars.
std::vector<std::string> words_of(const json::Value& config, const char* key) {
  const json::Value* found = json::find(config, key, "config.json");
  if (found == nullptr || found->is_null()) return {};
  if (!found->is_string()) return json::require<std::vector<std::string>>(config, key, "config.json");
  std::istringstream all(found->get<std::string>());
  std::vector<std::string> words;
  for (std::string word; std::getline(all, word, '|');) {
    word.erase(0, word.find_first_not_of(' '));
    word.erase(word.find_last_not_of(' ') + 1);
    words.push_back(word);
  }
  return words;
}

// The score of a pair is a sum of one to three products, scaled to the size of one.
void read_positions(const json::Value& config, Blueprint& b) {
  DisentangledFacts facts;
  int terms = 1;
  for (const std::string& word : words_of(config, "pos_att_type")) {
    if (word != "c2p" && word != "p2c" && !word.empty()) {
      throw Error(ErrorCode::kUnsupported,
                  "[config.json] expected pos_att_type among c2p, p2c, found " + json::quote(word));
    }
    (word == "c2p" ? facts.content_to_position : facts.position_to_content) = !word.empty();
  }
  terms += facts.content_to_position ? 1 : 0;
  terms += facts.position_to_content ? 1 : 0;
  for (LayerFacts& layer : b.layers) {
    AttentionFacts& a = layer.attention;
    a.scale = 1.0F / std::sqrt(static_cast<float>(a.width * terms));
  }
  if (!flag_or(config, "relative_attention", false)) return;
  facts.furthest = json::get_or<std::int64_t>(config, "max_relative_positions", -1, "config.json");
  if (facts.furthest < 1) facts.furthest = size_word_or(config, "max_position_embeddings", 512);
  facts.buckets = json::get_or<std::int64_t>(config, "position_buckets", -1, "config.json");
  if (facts.buckets < 1) facts.buckets = 0;
  facts.span = facts.buckets > 0 ? facts.buckets : facts.furthest;
  if (facts.span > (1 << 16) || facts.furthest > (1 << 28) || facts.buckets == 1) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected position_buckets 2..65536 or none, found {}", facts.span));
  }
  facts.table = "encoder.rel_embeddings";
  for (const std::string& word : words_of(config, "norm_rel_ebd")) {
    if (word == "layer_norm") facts.norm = "encoder.LayerNorm";
  }
  const bool shared = flag_or(config, "share_att_key", false);
  for (LayerFacts& layer : b.layers) {
    layer.attention.disentangled = facts;
    DisentangledFacts& own = *layer.attention.disentangled;
    own.key = shared ? layer.attention.key : "attention.self.pos_key_proj";
    own.query = shared ? layer.attention.query : "attention.self.pos_query_proj";
  }
}

void read_convolution(const json::Value& config, Blueprint& b) {
  const auto kernel = json::get_or<std::int64_t>(config, "conv_kernel_size", 0, "config.json");
  if (kernel <= 0) return;
  b.convolution = ConvolutionFacts{.name = "encoder.conv.conv",
                                   .norm = "encoder.conv.LayerNorm",
                                   .kernel = kernel,
                                   .groups = size_word_or(config, "conv_groups", 1),
                                   .activation = activation_of(word_or(config, "conv_act", "tanh"))};
}

std::vector<HeadBlueprint> deberta_heads(const json::Value& config, const Blueprint& b) {
  using From = HeadBlueprint::From;
  const kernels::Activation act = b.layers.front().mlp.activation;
  const HeadBlueprint old{.architecture = "ForMaskedLM",
                          .dense = "cls.predictions.transform.dense",
                          .dense_width = b.embedding_width,
                          .activation = act,
                          .norm = "cls.predictions.transform.LayerNorm",
                          .out = "cls.predictions.decoder",
                          .out_bias = "cls.predictions.bias",
                          .tied = true};
  const HeadBlueprint own{.architecture = "ForMaskedLM",
                          .dense = "lm_predictions.lm_head.dense",
                          .activation = act,
                          .norm = "lm_predictions.lm_head.LayerNorm",
                          .out = "lm_predictions.lm_head.decoder",
                          .out_bias = "lm_predictions.lm_head.bias",
                          .tied = true};
  const bool legacy = flag_or(config, "legacy", true);
  return {legacy ? old : own,
          legacy ? own : old,
          {.architecture = "ForSequenceClassification",
           .from = From::kFirstToken,
           .dense = "pooler.dense",
           .activation = activation_of(word_or(config, "pooler_hidden_act", "gelu")),
           .out = "classifier"},
          {.architecture = "ForTokenClassification", .out = "classifier"},
          {.architecture = "ForQuestionAnswering", .out = "qa_outputs"}};
}

}  // namespace

Blueprint deberta_v2(const json::Value& config) {
  Blueprint b = bert(config);
  b.family = "deberta-v2";
  b.prefixes = {"deberta."};
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-7));
  b.types = json::get_or<std::int64_t>(config, "type_vocab_size", 0, "config.json");
  if (!flag_or(config, "position_biased_input", true)) b.position_rows = 0;
  if (const std::int64_t E = size_word_or(config, "embedding_size", b.width); E != b.width) {
    b.embedding_width = E;
    b.embedding_projection = "embeddings.embed_proj";
    b.norm_after_projection = true;
  }
  b.pooler = "";
  for (LayerFacts& layer : b.layers) {
    AttentionFacts& a = layer.attention;
    a.query = "attention.self.query_proj";
    a.key = "attention.self.key_proj";
    a.value = "attention.self.value_proj";
    if (const auto width = json::get_or<std::int64_t>(config, "attention_head_size", a.width, "config.json");
        width != a.width) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[config.json] expected attention_head_size {}, found {}", a.width, width));
    }
  }
  read_positions(config, b);
  read_convolution(config, b);
  b.heads_on_top = deberta_heads(config, b);
  return b;
}

}  // namespace headscope::models
