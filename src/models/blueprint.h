#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"
#include "kernels/isa.h"

namespace headscope::models {

/// A linear map's tensors: `name`.weight and `name`.bias (the latter may be absent).
/// A norm's tensors: `name`.weight / .bias, or in old files `name`.gamma / .beta.
struct LayerNames {
  std::string prefix;  ///< "encoder.layer.{}." : {} is the layer's number
  std::string query, key, value, output;
  std::string attention_norm;
  std::string up, down;
  std::string mlp_norm;
};

/// What stands on top of the last hidden state: [dense -> activation -> norm ->] out.
struct HeadBlueprint {
  enum class From { kEveryToken, kFirstToken, kPooler };
  std::string architecture{};  ///< ending of the class name in config.json: "ForMaskedLM"
  From from = From::kEveryToken;
  std::string dense{};  ///< "" : none
  kernels::Activation activation = kernels::Activation::kTanh;
  std::string norm{};      ///< "" : none
  std::string out{};       ///< name of the last linear map
  std::string out_bias{};  ///< its bias has a name of its own; "" : `out`.bias
  bool tied = false;       ///< without out.weight, the word embeddings serve
};

/// One family, as a table of facts read from config.json. `transformer.cpp` does the rest.
struct Blueprint {
  std::string family;
  std::vector<std::string> prefixes;  ///< that published tensor names may carry

  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t width = 0;  ///< C
  std::int64_t mlp_width = 0;
  std::int64_t vocabulary = 0;
  std::int64_t position_rows = 0;  ///< rows of the position table
  std::int64_t types = 0;          ///< rows of the token-type table, 0: none
  float norm_eps = 1e-12F;
  kernels::Activation activation = kernels::Activation::kGelu;
  bool causal = false;

  /// RoBERTa counts positions over tokens that are not padding, from pad_token + 1.
  bool positions_skip_padding = false;
  std::int64_t pad_token = 0;

  std::string word_embeddings, position_embeddings, type_embeddings, embedding_norm;
  LayerNames layer;
  std::string pooler;  ///< dense layer on the first token, tanh; "" : none
  std::vector<HeadBlueprint> heads_on_top;

  /// Longest sequence in tokens.
  [[nodiscard]] std::int64_t positions() const {
    return positions_skip_padding ? position_rows - pad_token - 1 : position_rows;
  }
};

/// Reads a family's config.json. Errors: kFormat, kUnsupported (an option this engine has no part
/// for).
using ReadBlueprint = Blueprint (*)(const json::Value& config);

Blueprint bert(const json::Value& config);
Blueprint roberta(const json::Value& config);
Blueprint distilbert(const json::Value& config);

/// Blueprint of config["model_type"]. Errors: kUnsupported, naming the nearest and all known
/// families.
Blueprint read_blueprint(const json::Value& config);

/// "gelu", "gelu_new", "relu", ... as config.json says it. Errors: kUnsupported.
kernels::Activation activation_of(const std::string& name);

/// Sizes are positive and fit together. Errors: kFormat.
void check(const Blueprint& blueprint);

}  // namespace headscope::models
