// --heal of `headscope doctor prune` and `regroup`.
#include <filesystem>

#include "cli/doctor.h"
#include "cli/signals.h"
#include "doctor/heal.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

std::int64_t heal_steps(const Call& call, const HealWish& wish) {
  return wish.steps.empty() ? 30 : parse_integer(call, "--steps", wish.steps, 1, 1'000'000);
}

void check_heal(const Call& call, const HealWish& wish) {
  if (wish.file.empty() && !wish.steps.empty()) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, "--heal"));
  }
  (void)heal_steps(call, wish);
  if (!wish.file.empty() && !std::filesystem::is_regular_file(wish.file)) {
    throw Error(ErrorCode::kNotFound,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    "--heal",
                    say(call.screen.lang, Word::kAText),
                    clean(wish.file)));
  }
}

double heal_folder(const Call& call,
                   const std::string& folder,
                   const HealWish& wish,
                   std::span<const Tokens> texts) {
  // So much of the text as the steps can read, and no more is tokenised.
  doctor::HealOptions options;
  options.steps = heal_steps(call, wish);
  std::string whole = read_file(wish.file, std::size_t{1} << 30);
  const auto most = static_cast<std::size_t>(options.steps * options.tokens * 8);
  if (whole.size() > most) {
    std::size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(whole[end]) & 0xC0U) == 0x80U) --end;
    whole.resize(end);
  }
  const std::vector<std::int32_t> ids = Model::load(folder).tokenizer().encode(whole, false).ids;
  {
    Progress progress{std::string(text(call.screen.lang, Word::kHealing))};
    options.told = telling(progress, call, Word::kHealing);
    const Writing writing;
    doctor::heal(folder, ids, options);
  }
  const Model healed = Model::load(folder);
  double sum = 0.0;
  for (const Tokens& piece : texts)
    sum += doctor::judge(doctor::Baseline(healed, doctor::copy_of(piece)), doctor::Judge());
  return sum / static_cast<double>(texts.size());
}

}  // namespace headscope::cli
