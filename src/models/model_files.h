#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "formats/json.h"
#include "headscope/model.h"
#include "models/blueprint.h"
#include "models/find.h"
#include "models/network.h"
#include "models/weights.h"

/// What lies beside the weights of a model, read from a folder or out of one GGUF file.
namespace headscope::models {

struct ModelFiles {
  json::Value config;  ///< config.json, or what GGUF metadata says in its words
  Tensors tensors;
  Stored stored;                                  ///< what the format does to weights
  std::shared_ptr<const json::Value> metadata{};  ///< of GGUF; nullptr for a folder
};
/// Opens and checks; weights stay mapped. Errors: those of the formats; kFormat for a weight that is NaN or
/// infinite (names the tensor), unless those are welcome.
ModelFiles open_model(const Place& place, bool finite = true);

/// The class that the weights are of, from config.json: "BertForMaskedLM"; "" when it says none.
std::string architecture_of(const json::Value& config);
/// Errors: kFormat, kRange.
std::vector<Role> read_roles(const std::filesystem::path& path, const Network& network);
/// The stack or stacks that config.json describes. Takes the tensors out of `files`.
/// Errors: kUnsupported (an unknown family: names the nearest), kFormat, kNotFound, kShape, kDType.
std::unique_ptr<const Network> read_network(ModelFiles& files);
/// Nothing when there is none. Errors: also kFormat for one whose number of tokens does not fit `vocabulary`.
std::optional<Tokenizer> read_tokenizer(const Place& place,
                                        const ModelFiles& files,
                                        std::int64_t vocabulary);
/// Names of what a classifier tells apart: config.json's id2label.
std::vector<std::string> read_labels(const json::Value& config);
struct PoolingFiles {
  Pooling pooling;
  std::string
      unsupported{};  ///< what is asked for beyond that, with which vectors would be others; "" : nothing
};
/// From 1_Pooling/config.json and modules.json, as Sentence Transformers write them; else the mean, of length 1.
PoolingFiles read_pooling(const std::filesystem::path& folder);

}  // namespace headscope::models
