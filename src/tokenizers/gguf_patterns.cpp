#include "tokenizers/gguf_patterns.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "headscope/error.h"

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
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
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
constexpr std::string_view kHanOrHangul = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseekLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄ"
    "Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

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

}  // namespace

const GgufPattern& gguf_pattern(std::string_view pre, std::string_view where) {
  const std::string word = fmt::format(" {} ", pre);
  std::string known;
  for (const GgufPattern& pattern : kPatterns) {
    if (pattern.names.find(word) != pattern.names.npos) return pattern;
    known += pattern.names.substr(1);
  }
  if (!known.empty()) known.pop_back();
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[{}] expected tokenizer.ggml.pre to be one of {}, found \"{}\"",
                          where,
                          known,
                          pre));
}

}  // namespace headscope::tokenizers
