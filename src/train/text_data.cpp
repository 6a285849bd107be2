#include "train/text_data.h"

#include <fmt/format.h>
#include <lzma.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_map>

#include "formats/xz.h"
#include "headscope/error.h"
#include "headscope/threads.h"
#include "tokenizers/unicode.h"
#include "train/stems.h"
#include "train/vocabulary.h"

namespace headscope::train {

namespace {

/// Goes up when what the cache holds is made in another way.
constexpr int kCacheVersion = 1;

std::uint64_t checksum(std::string_view bytes, std::uint64_t before = 0) {
  return lzma_crc64(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), before);
}

/// What one stretch of a text became.
struct Stretch {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> kinds;
  Borders borders;
};

/// Finds the kinds of the tokens of a line; one for each thread.
class Kinds {
 public:
  /// Appends one kind for each token.
  void find(const Encoding& line, Stretch& out) {
    for (std::size_t first = 0; first < line.ids.size();) {
      std::size_t last = first + 1;
      while (last < line.ids.size() && line.words[last] == line.words[first]) ++last;
      word(line, first, last, out);
      first = last;
    }
  }

 private:
  void word(const Encoding& line, std::size_t first, std::size_t last, Stretch& out) {
    std::string text = line.tokens[first];
    for (std::size_t i = first + 1; i < last; ++i) text += continued(line.tokens[i]);
    const bool known = std::none_of(line.ids.begin() + static_cast<std::ptrdiff_t>(first),
                                    line.ids.begin() + static_cast<std::ptrdiff_t>(last),
                                    [](std::int32_t id) { return id == kUnknown; });
    const Script script = known ? script_of_word(text) : Script::kOther;
    const std::uint8_t language =
        script == Script::kEnglish ? std::uint8_t{kIsEnglish} : std::uint8_t{0};
    if (script == Script::kOther) {
      for (std::size_t i = first; i < last; ++i)
        out.kinds.push_back(i == first ? kMark : kStemMore);
      return;
    }
    const std::size_t stem = stem_of(text);
    const std::string_view tail = continued(line.tokens[last - 1]);
    const bool parted = last - first > 1 && stem < text.size() && tail.size() == text.size() - stem;
    ++out.borders.words;
    out.borders.tokens += static_cast<std::int64_t>(last - first);
    out.borders.with_ending += stem < text.size() ? 1 : 0;
    out.borders.kept += parted ? 1 : 0;
    out.borders.whole += stem == text.size() && last - first == 1 ? 1 : 0;
    const bool function = last - first == 1 && is_function_word(text, script);
    out.kinds.push_back(static_cast<std::uint8_t>((function ? kFunction : kStem) | language));
    for (std::size_t i = first + 1; i < last; ++i) {
      const bool ending = parted && i + 1 == last;
      out.kinds.push_back(static_cast<std::uint8_t>((ending ? kEnding : kStemMore) | language));
    }
  }

  static std::string_view continued(std::string_view token) {
    if (token.starts_with("##")) token.remove_prefix(2);
    return token;
  }

  std::size_t stem_of(const std::string& word) {
    const auto [at, fresh] = stems_.try_emplace(word, 0);
    if (fresh) at->second = stemmer_.stem_of(word);
    return at->second;
  }

  Stemmer stemmer_;
  std::unordered_map<std::string, std::size_t> stems_;
};

void add(Borders& to, const Borders& from) {
  to.words += from.words;
  to.with_ending += from.with_ending;
  to.kept += from.kept;
  to.whole += from.whole;
  to.tokens += from.tokens;
}

bool ends_sentence(std::string_view token) {
  return token == "." || token == "!" || token == "?" || token == "…";
}

Stretch encode(std::string_view text, const Tokenizer& tokenizer, const TextOptions& options) {
  Stretch out;
  Kinds kinds;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const Encoding line = tokenizer.encode(text.substr(0, end), false);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ids.empty()) continue;
    out.ids.insert(out.ids.end(), line.ids.begin(), line.ids.end());
    const std::size_t before = out.kinds.size();
    if (options.kinds) {
      kinds.find(line, out);
    } else {
      for (std::size_t i = 0; i < line.ids.size(); ++i) {
        out.kinds.push_back(i > 0 && line.words[i] == line.words[i - 1] ? kStemMore : kMark);
      }
    }
    for (std::size_t i = 0; i < line.ids.size(); ++i) {
      if (i + 1 == line.ids.size() || ends_sentence(line.tokens[i]))
        out.kinds[before + i] |= kEndsSentence;
    }
    if (!options.sentences) {
      out.ids.push_back(kSeparator);
      out.kinds.push_back(kMark);
    }
  }
  return out;
}

/// Ends of stretches of some 256 KiB, behind line ends.
std::vector<std::size_t> cuts_of(std::string_view text) {
  constexpr std::size_t kStretch = std::size_t{1} << 18;
  std::vector<std::size_t> cuts{0};
  while (cuts.back() < text.size()) {
    const std::size_t from = std::min(text.size(), cuts.back() + kStretch);
    const std::size_t end = text.find('\n', from);
    cuts.push_back(end == std::string_view::npos ? text.size() : end + 1);
  }
  return cuts;
}

Stretch encode_all(std::string_view text, const Tokenizer& tokenizer, const TextOptions& options) {
  const std::vector<std::size_t> cuts = cuts_of(text);
  Stretch all;
  constexpr std::size_t kAtOnce = 16;
  for (std::size_t first = 0; first + 1 < cuts.size(); first += kAtOnce) {
    const std::size_t count = std::min(kAtOnce, cuts.size() - 1 - first);
    std::vector<Stretch> some(count);
    parallel_for(static_cast<std::int64_t>(count), [&](std::int64_t i) {
      const std::size_t at = first + static_cast<std::size_t>(i);
      some[static_cast<std::size_t>(i)] =
          encode(text.substr(cuts[at], cuts[at + 1] - cuts[at]), tokenizer, options);
    });
    for (const Stretch& stretch : some) {
      all.ids.insert(all.ids.end(), stretch.ids.begin(), stretch.ids.end());
      all.kinds.insert(all.kinds.end(), stretch.kinds.begin(), stretch.kinds.end());
      add(all.borders, stretch.borders);
    }
    if (options.progress) options.progress(cuts[first + count], text.size());
  }
  return all;
}

bool continues_word(std::uint8_t kind) {
  return (kind & kKindMask) == kStemMore || (kind & kKindMask) == kEnding;
}

std::vector<std::int64_t> starts_of(const Stretch& all, const TextOptions& options) {
  const auto n = static_cast<std::int64_t>(all.ids.size());
  std::vector<std::int64_t> starts{0};
  const auto kind = [&](std::int64_t i) { return all.kinds[static_cast<std::size_t>(i)]; };
  while (starts.back() < n) {
    const std::int64_t begin = starts.back();
    std::int64_t end = std::min(n, begin + options.window);
    if (options.sentences && end < n) {
      const std::int64_t half = begin + options.window / 2;
      std::int64_t at = end;
      while (at > half && (kind(at - 1) & kEndsSentence) == 0) --at;
      if (at == half) {
        // No sentence ends in the second half: between words then, unless one fills it.
        for (at = end; at > half && continues_word(kind(at));) --at;
      }
      if (at > half) end = at;
    }
    starts.push_back(end);
  }
  return starts;
}

constexpr std::pair<const char*, std::int64_t Borders::*> kBorderNames[] = {
    {"words", &Borders::words},
    {"with_ending", &Borders::with_ending},
    {"kept", &Borders::kept},
    {"whole", &Borders::whole},
    {"tokens", &Borders::tokens}};

void write_cache(const std::filesystem::path& path,
                 const Stretch& all,
                 const TextOptions& options) {
  const std::vector<std::int64_t> starts = starts_of(all, options);
  const auto view = [](DType dtype, const auto& numbers) {
    return AnyView{dtype,
                   {static_cast<std::int64_t>(numbers.size())},
                   reinterpret_cast<const std::byte*>(numbers.data())};
  };
  std::map<std::string, std::string, std::less<>> metadata;
  for (const auto& [name, member] : kBorderNames)
    metadata[name] = std::to_string(all.borders.*member);
  write_safetensors(path,
                    {{"ids", view(DType::kI32, all.ids)},
                     {"kinds", view(DType::kU8, all.kinds)},
                     {"starts", view(DType::kI64, starts)}},
                    metadata);
}

}  // namespace

std::string read_utf8(const std::filesystem::path& path) {
  std::string text = read_text(path);
  bool empty = true;
  std::int64_t line = 1;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = tokenizers::next_utf8(text, at);
    if (c == tokenizers::kNotUtf8) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[{}:{}] expected UTF-8, found 0x{:02X} at byte {} of the text",
                              path.string(),
                              line,
                              static_cast<unsigned char>(text[begin]),
                              begin));
    }
    if (c == U'\n') ++line;
    empty = empty && tokenizers::is_white_space(c);
  }
  if (!empty) return text;
  throw Error(ErrorCode::kInput,
              fmt::format("[{}] expected a text to learn from, found {}",
                          path.string(),
                          text.empty() ? "an empty file" : "nothing but white space"));
}

void TextData::open(const std::filesystem::path& path) {
  file_ = std::make_shared<const Safetensors>(Safetensors::open(path));
  const auto span = [](const auto& view) {
    return std::span(view.data, static_cast<std::size_t>(view.shape[0]));
  };
  ids_ = span(file_->at("ids").view<std::int32_t, 1>("ids"));
  kinds_ = span(file_->at("kinds").view<std::uint8_t, 1>("kinds"));
  starts_ = span(file_->at("starts").view<std::int64_t, 1>("starts"));
  for (const auto& [name, member] : kBorderNames) {
    const auto found = file_->metadata().find(name);
    if (found == file_->metadata().end()) continue;
    const std::string& word = found->second;
    std::from_chars(word.data(), word.data() + word.size(), borders_.*member);
  }
  const bool whole = kinds_.size() == ids_.size() && starts_.size() > 1 && starts_.front() == 0 &&
                     starts_.back() == tokens() && std::is_sorted(starts_.begin(), starts_.end());
  if (!whole) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected windows of tokens, found something else; delete it",
                            path.string()));
  }
}

TextData TextData::of(const std::filesystem::path& text,
                      const Tokenizer& tokenizer,
                      std::string_view tokenizer_json,
                      const TextOptions& options) {
  if (options.window < 1)
    throw Error(ErrorCode::kRange, "[text] expected windows of a token or more");
  std::uint64_t key = 0;
  {
    const auto stored = MappedFile::open(text);
    key = checksum({reinterpret_cast<const char*>(stored->bytes().data()), stored->bytes().size()});
  }
  const std::uint64_t how = checksum(
      fmt::format("{} {} {} {}", kCacheVersion, options.sentences, options.kinds, options.window),
      checksum(tokenizer_json));
  const std::filesystem::path path =
      options.cache / fmt::format("{:016x}-{:016x}.safetensors", key, how);
  TextData out;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    std::filesystem::create_directories(options.cache);
    const Stretch all = encode_all(read_utf8(text), tokenizer, options);
    if (all.ids.empty()) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[{}] expected a text with tokens, found none", text.string()));
    }
    write_cache(path, all, options);
  }
  out.open(path);
  return out;
}

std::span<const std::int32_t> TextData::ids(std::int64_t window) const {
  const auto at = static_cast<std::size_t>(window);
  return ids_.subspan(static_cast<std::size_t>(starts_[at]),
                      static_cast<std::size_t>(starts_[at + 1] - starts_[at]));
}

std::span<const std::uint8_t> TextData::kinds(std::int64_t window) const {
  const auto at = static_cast<std::size_t>(window);
  return kinds_.subspan(static_cast<std::size_t>(starts_[at]),
                        static_cast<std::size_t>(starts_[at + 1] - starts_[at]));
}

}  // namespace headscope::train
