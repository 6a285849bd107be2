#include "cli/arguments.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <iostream>
#include <iterator>
#include <memory>
#include <set>

#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {
constexpr std::size_t kMostText = std::size_t{64} << 20;

[[noreturn]] void expected(const Call& call,
                           std::string_view option,
                           const std::string& what,
                           std::string_view found) {
  throw Error(ErrorCode::kUsage,
              say(call.screen.lang, Word::kExpectedFound, call.verb, option, what, clean(found)));
}

template <typename T>
bool read_all(std::string_view word, T& out) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
  return error == std::errc() && end == word.data() + word.size();
}

std::vector<std::string_view> pieces(std::string_view list) {
  std::vector<std::string_view> out;
  for (;;) {
    const std::size_t comma = list.find(',');
    out.push_back(list.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    list.remove_prefix(comma + 1);
  }
}

bool read_head(std::string_view word, HeadId& out) {
  const std::size_t dot = word.find('.');
  return dot != std::string_view::npos && read_all(word.substr(0, dot), out.layer) &&
         read_all(word.substr(dot + 1), out.head) && out.layer >= 0 && out.head >= 0;
}

Edit edit_of(HeadId id, Edit::Kind kind, float factor = 1.0F) {
  Edit edit;
  edit.layer = id.layer;
  edit.head = id.head;
  edit.kind = kind;
  edit.factor = factor;
  return edit;
}

// Words that nobody types as a sentence: a path, or a name that ends like that of a file which some model reads.
bool means_a_file(std::string_view word) {
  if (word.find_first_of(" \t\n") != std::string_view::npos) return false;
  for (const std::string_view begin : {"/", "./", "../", "~"}) {
    if (word.size() > begin.size() && word.starts_with(begin)) return true;
  }
  static constexpr std::array<std::string_view, 47> kEndings = {
      ".txt", ".md",  ".text", ".csv", ".tsv",  ".json", ".jsonl", ".html", ".log", ".rst",
      ".xz",  ".jpg", ".jpeg", ".png", ".gif",  ".bmp",  ".webp",  ".tif",  ".psd", ".tiff",
      ".pnm", ".pbm", ".pgm",  ".ppm", ".avi",  ".mp4",  ".mkv",   ".webm", ".mov", ".flv",
      ".mpg", ".wmv", ".mpeg", ".ogv", ".y4m",  ".mid",  ".midi",  ".wav",  ".mp3", ".ogg",
      ".m4a", ".m4v", ".flac", ".amr", ".opus", ".rmi",  ".conllu"};
  std::string small(word);
  for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const std::string_view ending : kEndings) {
    if (small.size() > ending.size() && small.ends_with(ending)) return true;
  }
  return false;
}

std::string read_standard_input(const Call& call) {
  std::string out;
  std::array<char, 1 << 16> block{};
  while (std::cin.read(block.data(), block.size()) || std::cin.gcount() > 0) {
    out.append(block.data(), static_cast<std::size_t>(std::cin.gcount()));
    if (out.size() > kMostText) {
      throw Error(ErrorCode::kResources,
                  say(call.screen.lang, Word::kTextTooLarge, call.verb, kMostText >> 20));
    }
  }
  if (std::cin.bad())
    throw Error(ErrorCode::kIo, say(call.screen.lang, Word::kCannotReadInput, call.verb));
  return out;
}

}  // namespace

std::int64_t parse_integer(const Call& call,
                           std::string_view option,
                           std::string_view word,
                           std::int64_t least,
                           std::int64_t most) {
  std::int64_t out = 0;
  if (!read_all(word, out) || out < least || out > most) {
    expected(call, option, say(call.screen.lang, Word::kNumberFromTo, least, most), word);
  }
  return out;
}

std::int64_t check_range(const Call& call,
                         std::string_view option,
                         std::int64_t number,
                         std::int64_t least,
                         std::int64_t most) {
  return parse_integer(call, option, std::to_string(number), least, most);
}

std::vector<std::int64_t> parse_integers(const Call& call,
                                         std::string_view option,
                                         std::string_view words,
                                         std::int64_t least,
                                         std::int64_t most) {
  std::vector<std::int64_t> out;
  for (std::size_t at = 0; at <= words.size();) {
    const std::size_t end = std::min(words.size(), words.find(',', at));
    out.push_back(parse_integer(call, option, words.substr(at, end - at), least, most));
    if (std::count(out.begin(), out.end(), out.back()) > 1)
      expected(call, option, say(call.screen.lang, Word::kNumbersApart), words);
    at = end + 1;
  }
  return out;
}

std::size_t parse_choice(const Call& call,
                         std::string_view option,
                         std::string_view word,
                         std::span<const std::string_view> choices) {
  if (word.empty()) return 0;
  const auto found = std::find(choices.begin(), choices.end(), word);
  if (found == choices.end()) {
    std::string all;
    for (const std::string_view choice : choices)
      all.append(all.empty() ? "" : " | ").append(choice);
    expected(call, option, all, word);
  }
  return static_cast<std::size_t>(found - choices.begin());
}

DType parse_cache(const Call& call, std::string_view word) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    if (name(dtype) == word) return dtype;
  }
  throw Error(
      ErrorCode::kUsage,
      say(call.screen.lang, Word::kExpectedFound, call.verb, "--cache", "f32 | bf16", clean(word)));
}

double parse_number(const Call& call, std::string_view option, std::string_view word) {
  double out = 0.0;
  if (!read_all(word, out) || !std::isfinite(out)) {
    expected(call, option, say(call.screen.lang, Word::kANumber), word);
  }
  return out;
}

HeadId parse_head(const Call& call, std::string_view option, std::string_view word) {
  HeadId out;
  if (!read_head(word, out)) expected(call, option, say(call.screen.lang, Word::kAHead), word);
  return out;
}

std::vector<HeadId> parse_heads(const Call& call,
                                std::string_view option,
                                std::span<const std::string> words) {
  std::vector<HeadId> out;
  for (const std::string& word : words) {
    for (const std::string_view piece : pieces(word)) {
      out.push_back(parse_head(call, option, piece));
    }
  }
  return out;
}

std::vector<Edit> parse_edits(const Call& call,
                              std::span<const std::string> zero,
                              std::span<const std::string> mean,
                              std::span<const std::string> scale) {
  std::vector<Edit> out;
  for (const HeadId id : parse_heads(call, "--zero", zero))
    out.push_back(edit_of(id, Edit::Kind::kZero));
  for (const HeadId id : parse_heads(call, "--mean", mean))
    out.push_back(edit_of(id, Edit::Kind::kMean));
  for (const std::string& word : scale) {
    for (const std::string_view piece : pieces(word)) {
      const std::size_t equals = piece.find('=');
      HeadId id;
      if (equals == std::string_view::npos || !read_head(piece.substr(0, equals), id)) {
        expected(call, "--scale", say(call.screen.lang, Word::kAScale), piece);
      }
      const double factor = parse_number(call, "--scale", piece.substr(equals + 1));
      out.push_back(edit_of(id, Edit::Kind::kScale, static_cast<float>(factor)));
    }
  }
  check_edited_once(call, out);
  return out;
}

void check_edited_once(const Call& call, std::span<const Edit> edits) {
  std::set<HeadId> edited;
  for (const Edit& edit : edits) {
    const HeadId id{edit.layer, edit.head};
    if (!edited.insert(id).second) {
      throw Error(ErrorCode::kUsage,
                  say(call.screen.lang, Word::kEditedTwice, call.verb, id.name()));
    }
  }
}

bool is_missing_file(std::span<const std::string> words) {
  std::error_code ignored;
  return words.size() == 1 && words[0] != "-" && means_a_file(words[0]) &&
         !std::filesystem::exists(words[0], ignored);
}

void check_input(const Call& call, std::span<const std::string> words) {
  std::error_code ignored;
  const bool folder = words.size() == 1 && means_a_file(words[0]) &&
                      std::filesystem::is_directory(words[0], ignored);
  if (!folder && !is_missing_file(words)) return;
  throw Error(ErrorCode::kNotFound,
              say(call.screen.lang, Word::kNoSuchFile, call.verb, clean(words[0])));
}

// As a shell does with the output of a command: the line end of the last line is no part of the
// text.
std::string as_text(std::string text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

std::string read_bytes(const Call& call, std::span<const std::string> words) {
  if (words.size() == 1 && words[0] == "-") return read_standard_input(call);
  if (words.size() == 1) {
    std::error_code ignored;
    const std::filesystem::path path(words[0]);
    if (std::filesystem::exists(path, ignored) && !std::filesystem::is_directory(path, ignored))
      return read_file(path, kMostText);
    check_input(call, words);
  }
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

std::string read_input(const Call& call, std::span<const std::string> words) {
  std::error_code ignored;
  const bool file = words.size() == 1 &&
                    (words[0] == "-" || std::filesystem::exists(words[0], ignored)) &&
                    !std::filesystem::is_directory(words[0], ignored);
  return file ? as_text(read_bytes(call, words)) : read_bytes(call, words);
}

void check_there(const Call& call, std::string_view what, const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return;
  throw Error(ErrorCode::kNotFound,
              say(call.screen.lang, Word::kNothingAt, call.verb, what, clean(path)));
}

namespace {
[[noreturn]] void cannot_write(const Call& call, const std::string& path, int error) {
  const Lang lang = call.screen.lang;
  std::string why = std::generic_category().message(error);
  if (error == ENOENT || error == ENOTDIR) why = text(lang, Word::kNoFolderThere);
  if (error == EACCES || error == EPERM) why = text(lang, Word::kNotAllowedToWrite);
  throw Error(ErrorCode::kIo, say(lang, Word::kCannotWrite, call.verb, clean(path), why));
}
}  // namespace

void check_writable(const Call& call, const std::filesystem::path& path) {
  std::error_code ignored;
  const auto kind = std::filesystem::status(path, ignored).type();
  if (kind == std::filesystem::file_type::directory) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kOutputIsFolder, call.verb, path.string()));
  }
  const auto parent = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const bool there = kind != std::filesystem::file_type::not_found;
  const std::filesystem::path& asked =
      there && kind != std::filesystem::file_type::regular ? path : parent;
  if (::access(asked.c_str(), W_OK) != 0) cannot_write(call, path.string(), errno);
}

std::string new_folder(const Call& call, std::string name) {
  name = std::filesystem::path(name).lexically_normal().string();
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored))
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kFolderExists, call.verb, clean(name)));
  // The nearest folder above it that is there.
  std::filesystem::path above = std::filesystem::absolute(name, ignored).parent_path();
  while (above.has_relative_path() && !std::filesystem::exists(above, ignored))
    above = above.parent_path();
  errno = ENOTDIR;
  if (!std::filesystem::is_directory(above, ignored) || ::access(above.c_str(), W_OK) != 0)
    cannot_write(call, name, errno);
  return name;
}

}  // namespace headscope::cli
