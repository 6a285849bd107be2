// What a sentence whose tree is known shows of what the labels of heads claim.
#include "cli/see.h"

namespace headscope::cli {

std::optional<ShownHere> shown_here(const Seen& seen, const Role& role) {
  const doctor::RoleName* name = doctor::role_name(role.en);
  if (seen.tree == nullptr || name == nullptr) return std::nullopt;
  const Tensor map = seen.sighting->map(role.layer, role.head);
  ShownHere out;
  out.links = doctor::follow(*seen.tree,
                             name->relation,
                             name->looks,
                             map.view<float, 2>(),
                             doctor::align(*seen.tree, seen.sighting->labels));
  out.unread = conllu::edges(*seen.tree, name->relation).size() - out.links.size();
  return out;
}

std::string say_here(Lang lang, const conllu::Sentence& tree, const ShownHere& here) {
  constexpr std::size_t kMost = 12;
  const auto word = [&](std::int32_t i) {
    return clean(tree.words[static_cast<std::size_t>(i)].form);
  };
  std::string shown, missed;
  std::size_t hits = 0;
  for (std::size_t n = 0; n < here.links.size(); ++n) {
    const doctor::Followed& link = here.links[n];
    const bool hit = link.looks_at == link.to;
    hits += hit ? 1 : 0;
    if (n > kMost) continue;
    std::string& out = hit ? shown : missed;
    out += out.empty() ? "" : ", ";
    const std::string name = word(link.from) + "→" + word(link.to);
    if (n == kMost) {
      out += "…";
    } else if (hit) {
      out += name;
    } else {
      const std::string at = link.looks_at < 0 ? "-" : word(link.looks_at);
      out += say(lang, Word::kLooksElsewhere, name, at);
    }
  }
  const std::size_t n = here.links.size();
  std::string out = n == 0     ? std::string(text(lang, Word::kNoSuchLinkHere))
                    : hits > 0 ? say(lang, Word::kShownHere, hits, n, shown)
                               : say(lang, Word::kNotShownHere, n);
  if (!missed.empty() && hits > 0) out += "; " + std::string(text(lang, Word::kNotThese));
  if (!missed.empty()) out += ' ' + missed;
  if (here.unread > 0) out += ' ' + say(lang, Word::kUnseenHere, here.unread);
  return out;
}

}  // namespace headscope::cli
