#include "train/tokenizer_json.h"

#include <utility>

#include "train/vocabulary.h"

namespace headscope::train {

std::string tokenizer_json(TokenizerParts parts) {
  using Json = nlohmann::ordered_json;
  Json added = Json::array();
  for (std::int32_t id = 0; id < kSpecialCount; ++id) {
    added.push_back({{"id", id},
                     {"content", kSpecials[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const auto special = [](std::int32_t id, int type) {
    return Json{{"SpecialToken", {{"id", kSpecials[id]}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  const auto token = [](std::int32_t id) {
    return Json{{"id", kSpecials[id]},
                {"ids", Json::array({id})},
                {"tokens", Json::array({kSpecials[id]})}};
  };
  const Json template_of = {
      {"type", "TemplateProcessing"},
      {"single", {special(kClass, 0), sequence("A", 0), special(kSeparator, 0)}},
      {"pair",
       {special(kClass, 0),
        sequence("A", 0),
        special(kSeparator, 0),
        sequence("B", 1),
        special(kSeparator, 1)}},
      {"special_tokens",
       {{std::string(kSpecials[kClass]), token(kClass)},
        {std::string(kSpecials[kSeparator]), token(kSeparator)}}}};
  const Json whole = {{"version", "1.0"},
                      {"truncation", nullptr},
                      {"padding", nullptr},
                      {"added_tokens", std::move(added)},
                      {"normalizer", std::move(parts.normalizer)},
                      {"pre_tokenizer", std::move(parts.pre_tokenizer)},
                      {"post_processor", template_of},
                      {"decoder", std::move(parts.decoder)},
                      {"model", std::move(parts.model)}};
  return whole.dump(1) + '\n';
}

}  // namespace headscope::train
