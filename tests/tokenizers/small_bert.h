#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "headscope/tokenizer.h"

namespace headscope::small_bert {

using Json = nlohmann::json;

inline Json added(const std::string& content, int id, bool special) {
  return {{"id", id},
          {"content", content},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", !special},
          {"special", special}};
}

/// A tokenizer.json of BERT's kind with a handful of tokens, to be changed by each test.
inline Json file() {
  Json out = Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {
      "type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "the": 5, "king": 6,
                        "##s": 7, "play": 8, "##ing": 9, "##ed": 10, ",": 11, ".": 12, "a": 13, "##a": 14,
                        "e": 15, "中": 16, "i": 17, "don": 18, "'": 19, "t": 20, "cafe": 21}}})");
  const char* specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (int id = 0; id < 5; ++id) out["added_tokens"].push_back(added(specials[id], id, true));
  return out;
}

inline Tokenizer make(const Json& json) { return Tokenizer::parse(json.dump(), "small.json"); }

}  // namespace headscope::small_bert
