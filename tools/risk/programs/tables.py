"""What programs do in general, as data: one line per kind."""

from __future__ import annotations

from ..values import names

__all__ = ["LOADS", "PROGRAMS", "SETS_UP", "SHELLS", "SUBCOMMANDS", "USUAL_FOLDERS", "Verdicts", "coded"]

SHELLS = names("sh bash dash zsh ksh ksh93 mksh pdksh ash fish csh tcsh rbash yash elvish xonsh nu osh")

USUAL_FOLDERS = names(
    "scripts script bin tools tool test tests build ci .ci hack dev examples example src target dist out "
    "node_modules vendor venv .venv env app lib cmd util utils docs contrib packages backend frontend web server "
    "client"
)
"""Folders of a workspace that usually contain its own programs."""


SETS_UP = names(
    "ssh-agent gpg-agent keychain pyenv rbenv nodenv goenv jenv direnv dircolors starship zoxide mise rtx fnm "
    "lesspipe conda mamba micromamba brew opam luarocks minikube docker-machine oh-my-posh atuin thefuck scmpuff "
    "fasd navi resize asdf"
)
"""Programs that can print shell setup for ``eval``."""


def coded(rows: str) -> dict[str, str]:
    """Return name -> code from rows that begin with a code; if a name occurs twice, the first row wins."""
    made: dict[str, str] = {}
    for row in reversed(rows.strip().splitlines()):
        code, *names = row.split()
        made.update(dict.fromkeys(names, code))
    return made


_LOADS = """
environment      LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG_OUTPUT BASH_ENV ENV PYTHONSTARTUP PYTHONHOME
environment      PYTHONINSPECT PERL5OPT PERL5LIB PERLLIB PERL5DB RUBYOPT RUBYLIB NODE_OPTIONS NODE_PATH
environment      JAVA_TOOL_OPTIONS _JAVA_OPTIONS GCONV_PATH GIT_EXEC_PATH GIT_TEMPLATE_DIR GIT_PROXY_COMMAND
environment      GIT_ASKPASS SSH_ASKPASS SUDO_ASKPASS LESSOPEN LESSCLOSE PIP_INDEX_URL PIP_EXTRA_INDEX_URL
environment      PIP_CONFIG_FILE SHELLOPTS BASHOPTS GLOBIGNORE INPUTRC HOSTALIASES RUSTC_WRAPPER GTK_MODULES
environment      QT_PLUGIN_PATH PROMPT_COMMAND LOCPATH http_proxy https_proxy all_proxy
environment      HTTP_PROXY HTTPS_PROXY ALL_PROXY SYSTEMD_PAGER DOTNET_STARTUP_HOOKS UV_INDEX_URL UV_DEFAULT_INDEX
environment      UV_EXTRA_INDEX_URL UV_INDEX CARGO_BUILD_RUSTC_WRAPPER CARGO_BUILD_RUSTC RUSTC_WORKSPACE_WRAPPER
environment      PYTHONBREAKPOINT COVERAGE_PROCESS_START TAR_OPTIONS ZIPOPT LESSKEY LESSKEYIN MANOPT JDK_JAVA_OPTIONS
environment      PYTEST_PLUGINS LESS GOFLAGS RUSTFLAGS NODE_TLS_REJECT_UNAUTHORIZED GIT_SSL_NO_VERIFY MALLOC_TRACE
runs             GIT_SSH_COMMAND GIT_SSH GIT_EXTERNAL_DIFF GIT_PAGER PAGER MANPAGER EDITOR VISUAL GIT_EDITOR
runs             GIT_SEQUENCE_EDITOR BROWSER RSYNC_RSH CVS_RSH FCEDIT
prompt           PS0 PS1 PS2 PS3 PS4
builds           CC CXX CPP LD AR AS NM RANLIB STRIP OBJCOPY FC F77 LEX YACC MAKE HOSTCC HOSTCXX BUILD_CC
builds           CONFIG_SHELL RUSTC RUSTDOC CCACHE_PREFIX CMAKE_C_COMPILER_LAUNCHER CMAKE_CXX_COMPILER_LAUNCHER
compiles         CFLAGS CXXFLAGS CPPFLAGS LDFLAGS
makes            MAKEFLAGS GNUMAKEFLAGS
makefiles        MAKEFILES
reaches          DOCKER_HOST CONTAINER_HOST LIBVIRT_DEFAULT_URI ADB_SERVER_SOCKET AWS_ENDPOINT_URL VAULT_ADDR NOMAD_ADDR
reaches          CONSUL_HTTP_ADDR ETCDCTL_ENDPOINTS
hides            HISTFILE HISTSIZE HISTFILESIZE HISTIGNORE HISTCONTROL SAVEHIST
"""
LOADS = coded(_LOADS)
"""Variable -> the rule for setting it, or how its value is read: ``runs``, ``prompt`` and ``builds`` as a command,
``compiles`` and ``makes`` as the options of one, ``makefiles`` as files, ``reaches`` as an address."""

_PROGRAMS = """
prints           : true false test [ [[ ]] exit return break continue shift jobs fg bg disown sleep yes clear
prints           reset tput stty tty whoami id groups users who w last lastlog hostname hostid hostnamectl date cal
prints           ncal uptime free vmstat iostat mpstat sar nproc lscpu lsblk lspci lsusb lsmod lsof lsns lslocks
prints           lsmem lshw lsb_release dmidecode sensors ps top htop atop pgrep pidof pstree pmap df du ls dir vdir
prints           tree exa eza lsd stat file cksum sum md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum
prints           md5 shasum crc32 wc printenv locale localectl timedatectl ulimit times umask dirs caller
prints           help man info apropos whatis tldr cheat locate mlocate plocate ldd nm objdump readelf size addr2line
prints           c++filt findmnt blkid getfacl lsattr getcap getent finger factor numfmt pathchk split
prints           csplit ipcs ifstat nstat ss netstat nslookup dig host whois mtr traceroute tracepath ping ping6
prints           arping fping uuidgen mcookie history fc logname pinky runlevel cloc scc tokei figlet cowsay
prints           fortune banner lolcat toilet sl neofetch screenfetch zdump spell aspell ispell dict units bmon
prints           iftop nethogs glances nvidia-smi acpi upower pactl amixer xrandr xdpyinfo xwininfo fc-list fc-match
prints           fc-cache systemd-analyze systemd-detect-virt vainfo glxinfo inxi hwinfo ethtool dpkg-query rpmquery
prints           pkg-config pkgconf apt-cache apt-file mokutil nm-tool dumpe2fs logger ipcalc
prints           sipcalc chronyc ntpq loginctl coredumpctl networkctl getent lastb uname
prints           select function in case esac fi done while until if for elif continue suspend getopt
prints           mesg sw_vers system_profiler mdfind mdls xcode-select vm_stat top machine nettop ioreg
prints           black isort flake8 pylint ruff mypy pyright eslint prettier tsc stylelint shellcheck shfmt hadolint
prints           yamllint golint rubocop clippy-driver bandit semgrep codespell markdownlint jshint pycodestyle
prints           pydocstyle pyflakes vulture radon
reads            comm shuf tsort look less more most bat batcat
reads            cmp diff sdiff colordiff vimdiff diff3 zdiff zless zmore csvcut csvlook csvgrep
reads            csvstat xmllint yq tomlq xq xsltproc pandoc view wdiff jd dyff delta exiftool identify ffprobe
reads            mediainfo pdftotext pdfinfo gpg-zip lesspipe pygmentize highlight glow mdcat join dc ctags
reads            cscope cpp nroff groff troff enscript a2ps sqldiff hexyl bvi hd xxhsum jless fx mlr miller
reads            datamash ccze multitail vis unvis
writes           touch mkdir rmdir mkfifo ln install patch rename mmv prename convert mogrify magick ffmpeg sox ar
writes           ranlib strip objcopy gcc g++ cc c++ clang clang++ ld as javac kotlinc rustc ghc ocamlc gfortran yacc
writes           bison flex protoc cpio pax zip unzip rar unrar 7z 7za 7zr unar jar zipnote tiffcp gs
writes           ps2pdf pdftk qpdf img2pdf optipng jpegoptim cwebp nano vi vim nvim emacs ed ex micro joe pico helix
writes           hx kak mcedit jed subl gedit kate mousepad xdg-open virtualenv venv uuencode asciidoctor
writes           sphinx-build mkdocs hugo jekyll latex pdflatex xelatex lualatex bibtex truncate fallocate shar unshar
writes           gettext msgfmt xgettext dos2unix unix2dos recode sponge
workspace-code   make gmake cmake ninja meson scons bazel buck pants ant mvn gradle sbt lein mix rebar3 rake tox nox
workspace-code   pytest py.test unittest nosetests coverage jest vitest mocha ava karma cypress playwright phpunit
workspace-code   rspec ctest bats just task invoke fab doit pre-commit lefthook husky webpack vite rollup parcel
workspace-code   esbuild gulp grunt next nuxt ng uvicorn gunicorn flask django-admin celery streamlit jupyter
workspace-code   rails rackup puma manage.py storybook air cargo-watch tilt skaffold
workspace-code   wrangler expo electron java scala kotlin erl iex
workspace-code   wasmtime wasmer wasm3 wazero mono qemu-x86_64 qemu-aarch64 qemu-arm box64
wipes            mkfs mke2fs mkswap mkdosfs mkntfs newfs wipefs blkdiscard sgdisk
wipes            fdisk sfdisk cfdisk parted gdisk cryptsetup pvremove vgremove lvremove mdadm dban nwipe
power            shutdown reboot halt poweroff telinit init pm-suspend pm-hibernate rtcwake kexec
accounts         useradd adduser userdel deluser usermod groupadd addgroup groupdel delgroup groupmod gpasswd passwd
accounts         chpasswd chsh chfn chage newusers vipw vigr visudo pw dscl pwpolicy dseditgroup sysadminctl grpconv
accounts         pwconv pdbedit smbpasswd fscrypt faillock pam-auth-update authconfig authselect realm adcli net
services         systemd-tmpfiles update-rc.d chkconfig insserv rc-update rc-service initctl launchctl svc sv runit
services         supervisorctl at batch anacron crond update-grub grub-install grub-mkconfig grub2-mkconfig efibootmgr
services         bootctl update-initramfs dracut mkinitcpio update-alternatives sc schtasks sfc ldconfig
services         atrm incrontab
remote-code      ansible-pull
kernel           insmod modprobe rmmod depmod kexec bpftool bpftrace kmod setenforce setsebool semanage semodule
kernel           restorecon chcon apparmor_parser aa-disable aa-complain aa-teardown auditctl swapoff swapon hwclock
kernel           mknod losetup dmsetup
firewall         iptables ip6tables nft ufw firewall-cmd ebtables arptables ipset pfctl ipfw tc route brctl
firewall         ovs-vsctl wg wg-quick openvpn resolvconf networksetup scutil hostapd dnsmasq tailscale
firewall         iwconfig sslstrip iptables-restore ip6tables-restore arptables-restore ebtables-restore
permissions      setcap setfacl chattr chflags xattr csrutil spctl
sends            nc.traditional ftp tftp lftp ncftp sftp mail mailx sendmail mutt mpack swaks ssmtp msmtp smbclient
sends            rclone croc wormhole transfer.sh magic-wormhole pastebinit gist sprunge ix.io airshare filebeat
sends            telnet rlogin rsh rexec rcp uucp kermit snmpset mosquitto_pub wscat websocat grpcurl ngrok
sends            cloudflared localtunnel lt bore frpc frps chisel ligolo iodine dnscat dnscat2 ptunnel stunnel socat
sends            proxytunnel gost cryptcat sshuttle pwncat s3cmd
attack           nmap masscan zmap rustscan hydra medusa ncrack john hashcat sqlmap nikto gobuster dirb dirbuster
attack           wfuzz ffuf msfconsole msfvenom metasploit aircrack-ng aireplay-ng airodump-ng responder ettercap
attack           bettercap crackmapexec netexec nxc evil-winrm bloodhound-python mimikatz mimipenguin lazagne linpeas
attack           linpeas.sh linenum.sh pspy pspy64 kerbrute enum4linux wpscan arpspoof dsniff hping3 slowloris beef
attack           beef-xss empire sliver-client cewl crunch fcrackzip pdfcrack ophcrack amass subfinder nuclei
attack           searchsploit setoolkit theharvester recon-ng autorecon secretsdump.py psexec.py wmiexec.py
attack           getnpusers.py smbexec.py ntlmrelayx.py smbserver.py xmrig minerd cgminer cpuminer t-rex lolminer
attack           ethminer
records          tcpdump tshark dumpcap wireshark ngrep logkeys arecord parecord
records          screencapture scrot xwd grim maim flameshot
records          import
records          gnome-screenshot fswebcam streamer imagesnap xspy showkey evtest
desktop          xdotool xte ydotool cliclick automator kdotool wmctrl
credentials      security secret-tool gnome-keyring keyring pass gopass bw op lpass vault chainbreak
installs         easy_install cpan cpanm nix-env
changes-outside  terraform pulumi cdk serverless sls vercel netlify heroku fly flyctl firebase eb sam sf
changes-outside  sfdx ansible ansible-playbook ansible-console puppet chef-client salt salt-ssh pssh dsh cssh fabric
changes-outside  twine mysqladmin dropdb createdb dropuser createuser rabbitmqctl
exhausts         stress stress-ng
"""


PROGRAMS = coded(_PROGRAMS)
"""Program -> its rule, whatever its arguments are; ``reads`` and ``writes`` also check the paths among them."""

Verdicts = dict[str, str]

_SUBCOMMANDS = """
kubectl oc | credentials get_secret get_secrets describe_secret describe_secrets
  | leaves rollout_status rollout_history get describe logs top explain version config cluster-info
 api-resources api-versions auth diff events wait completion options | changes-outside apply create delete edit
 patch replace scale rollout set label annotate taint drain cordon uncordon expose autoscale run certificate debug
 | other-machine exec cp attach port-forward proxy | installs krew plugin
helm | option-runs --post-renderer | leaves list ls get status history search show template lint version repo
 env dependency | changes-outside install upgrade uninstall delete rollback push test | installs plugin
aws gcloud az doctl oci ibmcloud linode-cli hcloud exo aliyun | credentials secretsmanager secrets ssm
 keyvault kms auth_print-access-token auth_print-identity-token
 get-login-password assume-role get-session-token | other-machine ssh start-session
 | leaves describe list ls get show help version config configure login info auth account
 | changes-outside delete rm remove
 create put update terminate run reboot cp mv sync rb mb
 attach-role-policy deploy purge set add invoke import reset restart stop start modify | unknown-program *
systemctl | prints status list-units list-timers list-unit-files list-sockets list-jobs list-dependencies show cat
 is-active is-enabled is-failed get-default show-environment help --version | power reboot poweroff halt suspend
 hibernate kexec rescue emergency | services *
service | prints status --status-all | services *
launchctl | prints list print print-disabled blame | services *
journalctl | hides --vacuum-time --vacuum-size --vacuum-files --rotate --flush | prints *
ufw firewall-cmd | prints status --state --list-all --list-all-zones --list-services --list-ports --get-zones
 --get-default-zone --get-active-zones | firewall *
ip | firewall set add del delete flush change replace | prints *
ifconfig | firewall up down netmask promisc hw add del | prints *
nmcli | firewall up down modify add delete connect off on edit | prints *
swapon | prints --show -s | kernel *
ldconfig | prints -p -v | services *
cryptsetup mdadm | prints status isLuks luksDump --detail --examine | wipes *
zpool zfs btrfs lvm | wipes destroy labelclear | prints list status get history show df usage | system-write *
fdisk parted sfdisk gdisk sgdisk | prints -l --list -p print | wipes *
diskutil | prints list info | wipes eraseDisk eraseVolume secureErase zeroDisk partitionDisk reformat | system-write
 *
tmutil | prints listbackups status destinationinfo | mass-delete delete deletelocalsnapshots disable
vssadmin wbadmin | prints list | wipes *
ipcrm | processes *
defaults | prints read read-type find domains | environment write delete import
open | desktop -a -b | writes *
apt apt-get aptitude nala | prints list search show policy depends rdepends changelog showpkg madison check moo |
 leaves download source update fetch | installs * | system-write remove purge autoremove clean autoclean
yum dnf dnf4 dnf5 microdnf zypper tdnf urpmi eopkg | prints list search info provides repolist history check-update
 se if lr repoquery copr_list | system-write remove erase autoremove clean rm | installs *
apk | prints info list search policy stats | system-write del | installs add fix upgrade | leaves update fetch |
 unknown-program *
pacman yay paru aurman pikaur | prints -Q -Qi -Ql -Qs -Ss -Si -Qe -Qm -Qdt -Qo -Qk -T -F -V | system-write -R -Rs
 -Rns -Rsc | installs -S -Sy -Syu -Syyu -U | unknown-program *
brew | prints list ls search info deps doctor config outdated uses leaves home cat desc log missing options formulae
 casks | leaves update fetch | installs install reinstall upgrade tap cask bundle extract | system-write uninstall
 rm remove services cleanup autoremove | unknown-program *
snap flatpak | prints list find info search version remotes history | installs install refresh update | leaves run |
 system-write remove uninstall | unknown-program *
port emerge xbps-install slackpkg opkg pkg pkg_add pkgin guix nix nix-shell swupd synopkg installer softwareupdate
 choco winget scoop | prints search list info show query contents -s -l --list doctor eval |
 workspace-code develop build flake shell | system-write remove delete uninstall autoremove | installs *
dpkg rpm | installs -i --install -U -F -Uvh -ivh --unpack --upgrade --force-all | system-write -r -P --remove
 --purge -e --erase | services --configure -a | prints *
dpkg-reconfigure | services *
cabal stack opam luarocks | installs install upgrade update get | prints list info search show query help |
 workspace-code *
gem | prints list search query info contents environment env which help outdated | installs install update |
 workspace-code build | system-write uninstall cleanup | changes-outside push yank
ansible-galaxy | installs-listed -r --requirement --role-file | prints list search info verify | writes init build |
 changes-outside publish import delete | installs install download | unknown-program *
packer | installs plugins | prints version inspect fmt console | installs-listed init | workspace-code build validate |
 unknown-program *
conda mamba micromamba | installs-listed env_create env_update | prints list info search env config activate
 deactivate help compare | installs install create update | deletes remove uninstall clean
rustup ghcup sdk asdf mise nvm fnm pyenv rbenv jenv volta n nodenv goenv | prints list ls show which current version
 versions use shell local global exec help --version check completions whence root rehash init env default |
 installs install update upgrade add plugin toolchain self | deletes uninstall remove | unknown-program *
docker-machine vagrant multipass limactl minikube kind k3d colima virsh vboxmanage qm pct lxc incus lxc-start |
 prints status list ls info version ssh-config global-status show log | unknown-program start up create stop halt
 suspend resume | other-machine ssh shell exec attach enter lxc-attach | changes-outside destroy delete purge
 undefine remove rm | unknown-program *
gpg gpg2 | prints --list-keys -k -K --list-secret-keys --fingerprint --verify --list-packets --version --card-status
 | credentials --export-secret-keys --export-secret-subkeys | encrypts -c --symmetric | sends --send-keys | leaves
 --recv-keys --refresh-keys --search-keys | protected-write --delete-keys --delete-secret-keys
 --delete-secret-and-public-key --import-ownertrust | writes *
ssh-keygen | prints -l -F -y -L -B | writes *
ssh-add | prints -l -L -D -d | credentials *
ssh-copy-id | opens *
ssh-keyscan | leaves *
kinit klist kdestroy | prints -l -e | credentials *
SetFile setfile | hides *
code codium cursor | opens tunnel serve-web | installs --install-extension | writes *
busctl gdbus qdbus dbus-send | prints list status monitor capture tree introspect get-property --help --version
 | desktop *
networkctl | prints status list show statistics | firewall *
pixi | installs exec global add upgrade | prints list info search tree | installs-listed install | unknown-program *
machinectl | prints list status show list-images image-status | other-machine shell login | services *
loginctl | prints list-sessions list-users show-session session-status | processes terminate-session kill-session
 terminate-user | services enable-linger lock-session | prints *
hostnamectl timedatectl localectl | system-write set-hostname set-time set-timezone set-locale set-ntp set-keymap
 hostname_set | prints *
hostname domainname | prints -I -i -f -s -d -A --fqdn --short --ip-address -a | system-write *
umount swapoff fusermount | system-write *
setenforce | kernel *
getenforce sestatus aa-status | prints *
fc | prints -l -ln -lnr -nl | interactive *
lastlog | hides -C --clear | prints *
dmesg | hides -c -C --clear --read-clear -n | prints *
logrotate | unread-file *
wevtutil | hides *
auditctl | prints -l -s | hides -D -e -d | kernel *
gsettings dconf | prints get list-schemas list-keys list-recursively read dump list | environment set reset write
 load
xinput | prints list --list list-props | records test test-xi2 --test
xclip xsel pbcopy wl-copy clip | records -o --output | writes *
pbpaste wl-paste | records *
lpr lp lpmove cupsenable cupsdisable lpadmin cancel | changes-elsewhere *
write talk notify-send | changes-elsewhere *
gh glab hub | leaves list ls view status diff checks search browse checkout clone help version watch org auth_status
 config alias_list | credentials auth_token token | changes-outside create delete merge close edit
 comment review push set remove rerun cancel upload enable disable transfer archive rename fork sync lock unlock api
 reopen ready gist_new new login | installs extension | other-machine codespace_ssh codespace_cp | unknown-program *
wrangler | workspace-code dev types check | changes-outside publish deploy delete secret kv r2 d1 rollback | leaves
 whoami tail
terraform tofu | leaves init plan validate show output fmt providers version graph console get workspace_list login
 | changes-outside apply destroy import taint untaint state force-unlock refresh workspace
pulumi | leaves preview stack_ls stack config whoami about logs version plugin_ls new | changes-outside up update
 destroy import refresh cancel state
heroku fly flyctl vercel netlify firebase | leaves logs status list info apps ps whoami login version help projects
 | other-machine ssh run console exec | changes-outside *
ansible ansible-playbook | leaves --check --list-hosts --list-tasks --syntax-check --version | other-machine *
twine | prints check | changes-outside upload register
vault op bw pass gopass lpass | prints status version list ls find search help init login | credentials *
security | credentials *
secret-tool | credentials lookup search get | writes store | deletes clear
xattr | permissions -d -c -cr -r -w -rd | prints *
chattr | permissions *
lsattr | prints *
spctl csrutil | prints --status status | kernel *
wg | prints show showconf | firewall *
tailscale | leaves status ip ping version netcheck | opens *
ngrok cloudflared localtunnel lt bore | leaves version help config list | opens *
virt-xml virt-install | unknown-program *
net | prints user view group localgroup | accounts *
gsutil azcopy mc b2 | leaves ls cat stat du list version help | changes-outside *
debugfs | wipes -w | prints *
xdg-mime xdg-settings | prints query get check | environment default set install uninstall | prints *
nvme tune2fs e2fsck fsck xfs_repair resize2fs e2image | prints list id-ctrl smart-log -l -n -R | wipes *
netsh | prints show dump | firewall *
reg | prints query export compare | environment *
rabbitmqctl | prints status list_queues list_users list_vhosts | changes-outside *
"""


def _subcommands(rows: str) -> dict[str, Verdicts]:
    made: dict[str, Verdicts] = {}
    for row in rows.strip().replace("\n ", " ").splitlines():
        names, *kinds = row.split("|")
        verdicts: Verdicts = {}
        for kind in kinds:
            code, *words = kind.split()
            verdicts.update((word.replace("_", " ") if "_" in word else word, code) for word in words)
        made.update(dict.fromkeys(names.split(), verdicts))
    return made


SUBCOMMANDS = _subcommands(_SUBCOMMANDS)
"""Program -> the argument, a word or an option, that decides -> its rule; ``*`` for any other."""
