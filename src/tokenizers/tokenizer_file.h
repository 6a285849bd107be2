#pragma once

#include <memory>
#include <string_view>

#include "formats/json.h"
#include "tokenizers/model.h"

namespace headscope::tokenizers {

/// The text of a tokenizer.json, read: its vocabulary and merges, which are nearly all of a large
/// one, as they stand in the text, the rest as JSON.
class TokenizerFile {
 public:
  /// Errors: kFormat, kResources, as json::parse.
  TokenizerFile(std::string_view text, std::string_view name);
  ~TokenizerFile();

  /// All but the "model".
  [[nodiscard]] const json::Value& root() const { return root_; }
  /// Lives as long as this. Errors: kFormat when there is none.
  [[nodiscard]] const ModelParts& model() const;

 private:
  struct Document;
  void read_model(std::string_view name);

  std::unique_ptr<Document> document_;
  std::string name_;
  json::Value root_;
  bool has_model_ = false;
  ModelParts model_;
};

}  // namespace headscope::tokenizers
