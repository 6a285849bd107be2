// Speech to text.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cli/json_writer.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "headscope/media.h"
#include "headscope/transcribe.h"

namespace headscope::cli {

bool is_sound(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::array<char, 12> begin{};
  std::ifstream(path, std::ios::binary).read(begin.data(), begin.size());
  const std::string_view found(begin.data(), begin.size());
  const bool riff =
      found.starts_with("RIFF") || found.starts_with("RIFX") || found.starts_with("RF64");
  return (riff && found.substr(8) == "WAVE") || found.starts_with("fLaC") ||
         found.starts_with("OggS") || found.starts_with("ID3");
}

int hear(const Call& call,
         const Model& model,
         const std::string& path,
         const RunWishes& wishes,
         std::string& out) {
  const Audio audio = read_audio(path);
  TranscribeOptions options;
  options.language = wishes.language;
  options.translate = wishes.translate;
  options.edits = wishes.generate.edits;
  options.most = std::min(wishes.generate.most, model.answer_positions() / 2);
  if (!call.json) {
    options.on_text = [](std::string_view piece) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
  }
  const auto start = std::chrono::steady_clock::now();
  const Transcript found = transcribe(model, audio, options);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!call.json) {
    out += '\n';
    std::fprintf(stderr,
                 "%s\n",
                 say(call.screen.lang,
                     Word::kRunHeard,
                     figure(audio.seconds()),
                     figure(seconds),
                     found.language)
                     .c_str());
    return 0;
  }
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "run");
  json.field("model", model.name()).field("text", found.text).field("language", found.language);
  json.key("parts").begin_array();
  for (const Utterance& part : found.parts) {
    json.begin_object().field("begin", part.begin).field("end", part.end).field("text", part.text);
    json.array<std::int32_t>("ids", part.ids).end_object();
  }
  json.end_array().field("seconds", seconds).end_object();
  out += std::move(json).take();
  return 0;
}

}  // namespace headscope::cli
