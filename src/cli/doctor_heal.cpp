// --heal of `headscope doctor prune` and `regroup`.
#include <filesystem>

#include "cli/doctor.h"
#include "doctor/heal.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {
[[noreturn]] void no_text(const Call& call, const HealWish& wish, ErrorCode code) {
  throw Error(code,
              say(call.screen.lang,
                  Word::kExpectedFound,
                  call.verb,
                  "--heal",
                  say(call.screen.lang, Word::kAText),
                  clean(wish.file)));
}
}  // namespace

std::int64_t heal_steps(const Call& call, const HealWish& wish) {
  return wish.steps.empty() ? 30 : parse_integer(call, "--steps", wish.steps, 1, 1'000'000);
}

void check_heal(const Call& call, const HealWish& wish) {
  if (wish.file.empty() && !wish.steps.empty()) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, "--heal"));
  }
  (void)heal_steps(call, wish);
  if (!wish.file.empty() && !std::filesystem::is_regular_file(wish.file))
    no_text(call, wish, ErrorCode::kNotFound);
}

std::vector<std::int32_t> read_heal(const Call& call, const Model& model, const HealWish& wish) {
  doctor::check_healable(model);
  // So much of the text as the steps can read, and no more is tokenised.
  const doctor::HealOptions usual;
  std::string whole = read_file(wish.file, std::size_t{1} << 30);
  const auto most = static_cast<std::size_t>(heal_steps(call, wish) * usual.tokens * 8);
  if (whole.size() > most) {
    std::size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(whole[end]) & 0xC0U) == 0x80U) --end;
    whole.resize(end);
  }
  std::vector<std::int32_t> ids = model.tokenizer().encode(whole, false).ids;
  if (ids.size() < 2) no_text(call, wish, ErrorCode::kInput);
  return ids;
}

Healed heal_folder(const Call& call,
                   const std::string& folder,
                   const HealWish& wish,
                   std::span<const std::int32_t> ids,
                   std::span<const Tokens> texts) {
  Progress progress(call.screen.lang, std::string(text(call.screen.lang, Word::kHealing)));
  doctor::HealOptions options;
  options.steps = heal_steps(call, wish);
  options.told = telling(progress, call, Word::kHealing);
  doctor::heal(folder, ids, options);
  Healed out;
  out.steps = options.steps;
  out.text = std::filesystem::path(wish.file).filename().string();
  const Model healed = Model::load(folder);
  for (const Tokens& piece : texts) {
    options.told(options.steps, options.steps);  // may end it
    out.loss += doctor::judge(doctor::Baseline(healed, doctor::copy_of(piece)), doctor::Judge()) /
                static_cast<double>(texts.size());
  }
  return out;
}

MadeFolder::~MadeFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace headscope::cli
