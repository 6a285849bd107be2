// Any text through a small tokenizer of each kind: ends without a crash, and obeys its laws.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "headscope/error.h"
#include "headscope/tokenizer.h"

namespace {

constexpr std::string_view kBert = R"({
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

constexpr std::string_view kByteLevel = R"({
  "added_tokens": [{"id": 9, "content": "<m>", "special": true, "normalized": false, "lstrip": true}],
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "post_processor": {"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0], "trim_offsets": true,
                     "add_prefix_space": true},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4, "\u00c3": 5, "\u00a9": 6,
            "\u00c3\u00a9": 7, "aa": 8}, "merges": ["\u0120 a", "a b", "\u00c3 \u00a9", "a a"]}})";

constexpr std::string_view kSentencePiece = R"({
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    {"type": "Replace", "pattern": {"Regex": "b{2,}|\\s+"}, "content": "b"}]},
  "decoder": {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 1}]},
  "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": {"<unk>": 0, "\u2581": 1, "a": 2, "b": 3, "\u2581a": 4, "ab": 5, "<0xC3>": 6, "<0xA9>": 7, "<0x0A>": 8},
            "merges": [["\u2581", "a"], ["a", "b"]]}})";

constexpr std::string_view kUnigram = R"({
  "normalizer": {"type": "NFKC"},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"},
    {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\p{N}{1,3}"}, "behavior": "MergedWithNext", "invert": false},
    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true}]},
  "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true},
  "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true,
            "vocab": [["<unk>", 0], ["\u2581", -2], ["a", -1.5], ["ab", -2.25], ["\u2581a", -2.5], ["<0xC3>", -9], ["<0xA9>", -9]]}})";

bool inside(const headscope::Encoding& encoding, std::size_t size) {
  for (const headscope::ByteRange& range : encoding.offsets) {
    if (range.begin > range.end || range.end > size) return false;
  }
  const std::size_t n = encoding.ids.size();
  return encoding.offsets.size() == n && encoding.words.size() == n && encoding.tokens.size() == n;
}

void check(const headscope::Tokenizer& tokenizer, std::string_view text) {
  const headscope::Encoding encoding = tokenizer.encode(text);
  if (!inside(encoding, text.size())) std::abort();
  const std::string decoded = tokenizer.decode(encoding.ids, true);
  headscope::TokenStream stream(tokenizer, true);
  std::string streamed;
  for (const std::int32_t id : encoding.ids) streamed += stream.push(id);
  streamed += stream.flush();
  if (streamed != decoded) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array tokenizers{headscope::Tokenizer::parse(kBert, "bert"),
                                     headscope::Tokenizer::parse(kByteLevel, "byte level"),
                                     headscope::Tokenizer::parse(kSentencePiece, "sentencepiece"),
                                     headscope::Tokenizer::parse(kUnigram, "unigram")};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    for (const headscope::Tokenizer& tokenizer : tokenizers) check(tokenizer, text);
  } catch (const headscope::Error& error) {
    if (error.code() != headscope::ErrorCode::kInput) std::abort();
  }
  return 0;
}
