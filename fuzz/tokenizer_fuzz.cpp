// Any text through a small tokenizer of BERT's kind: ends without a crash, and obeys its laws.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "headscope/error.h"
#include "headscope/tokenizer.h"

namespace {

constexpr std::string_view kTokenizer = R"({
  "added_tokens": [
    {"id": 2, "content": "[MASK]", "special": true, "normalized": false, "lstrip": true},
    {"id": 9, "content": "\u00c9x", "special": false, "normalized": true, "single_word": true,
     "rstrip": true}],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                 "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]},
  "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"[CLS]": 0, "[SEP]": 1, "[MASK]": 2, "[UNK]": 3, "a": 4, "##a": 5, "ab": 6,
                      "##b": 7, ".": 8}}})";

bool inside(const headscope::Encoding& encoding, std::size_t size) {
  for (const headscope::ByteRange& range : encoding.offsets) {
    if (range.begin > range.end || range.end > size) return false;
  }
  const std::size_t n = encoding.ids.size();
  return encoding.offsets.size() == n && encoding.words.size() == n && encoding.tokens.size() == n;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizer = headscope::Tokenizer::parse(kTokenizer, "fuzz");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const headscope::Encoding encoding = tokenizer.encode(text);
    if (!inside(encoding, size)) std::abort();
    if (encoding.ids.size() < 2) std::abort();  // [CLS] and [SEP] at least
    (void)tokenizer.decode(encoding.ids, true);
  } catch (const headscope::Error& error) {
    if (error.code() != headscope::ErrorCode::kInput) std::abort();
  }
  return 0;
}
