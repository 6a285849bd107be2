#include "tokenizers/gguf_patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>

#include "headscope/error.h"
#include "tokenizers/unicode.h"

// Facts of published models: the regexes stand in their tokenizer.json files, the names in
// llama.cpp, which gave them.
namespace headscope::tokenizers {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kAsciiThree = "[0-9][0-9][0-9]";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                                    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
    R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1})"
    R"(| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBloom = " ?[^(\\s|.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C)]+";
constexpr std::string_view kKanaOrHan = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)";
constexpr std::string_view kHanOrHangul =
    R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseekLetters =
    R"(\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
    R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386})"
    R"(\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f})"
    R"(\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba})"
    R"(\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15})"
    R"(\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b})"
    R"(\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4})"
    R"(\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4})"
    R"(\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124})"
    R"(\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149})"
    R"(\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2})"
    R"(\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787})"
    R"(\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a})"
    R"(\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb})"
    R"(\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)";

constexpr std::array<std::string_view, 4> kDefaults{
    R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", kAsciiThree};
constexpr std::array<std::string_view, 1> kGpt2s{kGpt2};
constexpr std::array<std::string_view, 2> kDigitsThenGpt2{kDigit, kGpt2};
constexpr std::array<std::string_view, 3> kFalcon{R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, kAsciiThree};
constexpr std::array<std::string_view, 1> kLlama3s{kLlama3};
constexpr std::array<std::string_view, 1> kQwen2s{kQwen2};
constexpr std::array<std::string_view, 1> kQwen35s{kQwen35};
constexpr std::array<std::string_view, 1> kGpt4os{kGpt4o};
constexpr std::array<std::string_view, 1> kTekkens{kTekken};
constexpr std::array<std::string_view, 1> kSeedCoders{kSeedCoder};
constexpr std::array<std::string_view, 1> kBlooms{kBloom};
constexpr std::array<std::string_view, 2> kViking{kBloom, kDigit};
constexpr std::array<std::string_view, 3> kDeepseek3s{kThreeDigits, kKanaOrHan, kDeepseek3};
constexpr std::array<std::string_view, 6> kDeepseekLlm{
    R"([\r\n])",
    kDeepseekLetters,
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+",
    R"(\s+$)",
    kHanOrHangul,
    R"(\p{N}+)"};
constexpr std::array<std::string_view, 5> kDeepseekCoder{
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHanOrHangul, kDigit};

constexpr std::array<GgufPattern, 16> kPatterns{{
    {" default ", kDefaults},
    {" gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert mpt "
     "olmo jais exaone4 trillion granite-docling jina-v1-en jina-v2-code roberta-bpe ",
     kGpt2s},
    {" smollm starcoder refact command-r codeshell exaone minerva-7b ", kDigitsThenGpt2},
    {" falcon ", kFalcon},
    {" llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 ", kLlama3s, true, true},
    {" dbrx smaug-bpe glm4 chatglm-bpe ", kLlama3s},
    {" qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 kormo ", kQwen2s},
    {" qwen35 ", kQwen35s},
    {" gpt-4o llama4 kanana2 minimax-m2 ", kGpt4os},
    {" tekken ", kTekkens, true, true},
    {" seed-coder ", kSeedCoders},
    {" bloom gpt3-finnish poro-chat ", kBlooms},
    {" viking ", kViking},
    {" deepseek-v3 hunyuan-dense joyai-llm ", kDeepseek3s},
    {" deepseek-llm ", kDeepseekLlm},
    {" deepseek-coder ", kDeepseekCoder},
}};

/// Characters as they are where a file may as well escape them: \r, \n, \x{4e00}, \u4e00.
std::string plain(std::string_view regex) {
  std::string out;
  for (std::size_t at = 0; at < regex.size(); ++at) {
    if (regex[at] != '\\' || at + 1 == regex.size()) {
      out += regex[at];
      continue;
    }
    const char next = regex[++at];
    const bool braced = next == 'x' && regex.substr(at + 1).starts_with('{');
    const std::string_view digits =
        braced ? regex.substr(at + 2, regex.find('}', at) - at - 2) : regex.substr(at + 1, 4);
    std::uint32_t c = 0;
    const char* last = digits.data() + digits.size();
    const auto [end, error] = std::from_chars(digits.data(), last, c, 16);
    const bool number = error == std::errc() && end == last && c < 0x110000 &&
                        (braced || (next == 'u' && digits.size() == 4));
    if (next == 'r' || next == 'n' || next == 't') {
      out += next == 'r' ? '\r' : next == 'n' ? '\n' : '\t';
    } else if (number) {
      append_utf8(static_cast<char32_t>(c), out);
      at += digits.size() + (braced ? 2 : 0);
    } else {
      out += '\\';
      out += next;
    }
  }
  return out;
}

}  // namespace

std::string_view gpt2_regex() { return kGpt2; }

std::string_view gguf_pattern_name(std::span<const std::string> regexes, bool ignore_merges) {
  const GgufPattern* best = nullptr;
  for (const GgufPattern& pattern : kPatterns) {
    if (!std::ranges::equal(pattern.regexes, regexes, {}, plain, plain)) continue;
    if (best == nullptr || pattern.ignore_merges == ignore_merges) best = &pattern;
  }
  if (best == nullptr) return "";
  const std::string_view names = best->names.substr(1);
  return names.substr(0, names.find(' '));
}

const GgufPattern& gguf_pattern(std::string_view pre, std::string_view where) {
  const std::string word = fmt::format(" {} ", pre);
  std::string known;
  for (const GgufPattern& pattern : kPatterns) {
    if (pattern.names.find(word) != pattern.names.npos) return pattern;
    known += pattern.names.substr(1);
  }
  if (!known.empty()) known.pop_back();
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "[{}] expected tokenizer.ggml.pre to be one of {}, found \"{}\"", where, known, pre));
}

}  // namespace headscope::tokenizers
