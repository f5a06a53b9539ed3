#!/usr/bin/env bash
# What `cargo build --features cuda` (or `cudnn`) needs of NVIDIA, from Python wheels: the compiler,
# headers and libraries, without root, without a GPU, without a driver. About 2 GB.
#
#   scripts/cuda-toolkit.sh FOLDER          installs into FOLDER and writes FOLDER/env
#   . FOLDER/env                            then cargo finds everything
#
# PYTHON names the interpreter whose pip fetches the wheels (python3).
# CUDA_COMPUTE_CAP, kept in FOLDER/env, is the oldest card that the kernels run on (80: from A100).
#
# The driver's library belongs to the driver and lies on no build machine. What is linked in its
# place is a forwarder: it looks for libcuda.so.1 when the program starts, and where there is none
# every call answers that there is no device. So the program starts without a driver, too.
#
# x86-64 Linux.
set -euo pipefail

# One line of versions that belong together. CUDA 13.0 asks least of the driver (580), and cuDNN is
# the newest whose interface the bindings know.
wheels=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-cccl==13.0.85
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-nvrtc==13.0.88
    nvidia-cublas==13.0.2.14
    nvidia-curand==10.4.0.35
    nvidia-cudnn-cu13==9.21.1.3
)

fail() {
    echo "$0: $*" >&2
    exit 2
}

check_machine() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "only x86-64 Linux is served, this is $(uname -sm)"
    command -v "$python" > /dev/null || fail "no \`$python\`: set PYTHON to an interpreter with pip"
    "$python" -m pip --version > /dev/null 2>&1 || fail "\`$python\` has no pip"
    for program in cc ar; do
        command -v "$program" > /dev/null || fail "no \`$program\`: install a C compiler"
    done
}

# bin, nvvm, include and lib64 of one toolkit, as links to what the wheels hold.
lay_out() {
    local root=$folder/wheels/nvidia file name
    rm -rf "$folder/bin" "$folder/nvvm" "$folder/include" "$folder/lib64"
    ln -s wheels/nvidia/cu13/bin "$folder/bin"
    ln -s wheels/nvidia/cu13/nvvm "$folder/nvvm"
    mkdir "$folder/include" "$folder/lib64"
    for file in "$root"/cu13/include/* "$root"/cudnn/include/*; do
        ln -sf "${file/#$folder/..}" "$folder/include/"
    done
    for file in "$root"/cu13/lib/lib* "$root"/cudnn/lib/lib*; do
        name=$(basename "$file")
        ln -s "${file/#$folder/..}" "$folder/lib64/$name"
        # Wheels leave out the name without a version, which linkers ask for.
        case $name in
            *.alt.so.* | *builtins*) ;;
            *.so.*) ln -s "$name" "$folder/lib64/${name%%.so.*}.so" ;;
        esac
    done
}

# The forwarder: each function of cuda.h jumps to where its slot points.
forwarder() {
    local work=$folder/forwarder name
    mkdir -p "$work"
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$folder/include/cuda.h" | sort -u > "$work/names"
    {
        echo '.section .note.GNU-stack,"",@progbits'
        echo '.text'
        while read -r name; do
            printf '.globl %s\n.type %s,@function\n%s: endbr64\njmp *slot_%s(%%rip)\n' \
                "$name" "$name" "$name" "$name"
        done < "$work/names"
    } > "$work/jumps.s"
    {
        cat << 'C'
#include <dlfcn.h>
#include <stddef.h>

enum { NO_DEVICE = 100 };

static int no_device(void) { return NO_DEVICE; }
static int no_text(int code, const char **text) {
    (void)code;
    *text = "no NVIDIA driver on this machine (libcuda.so.1 was not found)";
    return 0;
}
C
        while read -r name; do echo "void *slot_$name;"; done < "$work/names"
        echo 'static const struct { const char *name; void **slot; } slots[] = {'
        while read -r name; do echo "{\"$name\", &slot_$name},"; done < "$work/names"
        cat << 'C'
};

__attribute__((constructor)) static void find_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        void *found = driver ? dlsym(driver, slots[i].name) : NULL;
        *slots[i].slot = found ? found : (void *)no_device;
    }
    if (!driver) {
        slot_cuGetErrorName = (void *)no_text;
        slot_cuGetErrorString = (void *)no_text;
    }
}
C
    } > "$work/slots.c"
    # One object, so that whoever takes a jump takes the constructor with it.
    cc -O1 -fPIC -c "$work/slots.c" -o "$work/slots.o"
    cc -fPIC -c "$work/jumps.s" -o "$work/jumps.o"
    ld -r "$work/slots.o" "$work/jumps.o" -o "$work/forwarder.o"
    rm -f "$folder/lib64/libcuda.a"
    ar rcs "$folder/lib64/libcuda.a" "$work/forwarder.o"
}

write_env() {
    cat > "$folder/env" << ENV
export CUDA_HOME='$folder'
export CUDA_PATH='$folder'
export CUDA_COMPUTE_CAP='${CUDA_COMPUTE_CAP:-80}'
export NVCC='$folder/bin/nvcc'
export PATH='$folder/bin':"\$PATH"
export LIBRARY_PATH='$folder/lib64'\${LIBRARY_PATH:+:\$LIBRARY_PATH}
export LD_LIBRARY_PATH='$folder/lib64'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
ENV
}

[ $# -eq 1 ] || fail "expected one folder: $0 FOLDER"
python=${PYTHON:-python3}
check_machine
mkdir -p "$1"
folder=$(cd "$1" && pwd)
case $folder in
    *"'"*) fail "the folder's name has a quotation mark" ;;
esac
if [ "$(cat "$folder/versions" 2> /dev/null)" != "${wheels[*]}" ]; then
    rm -rf "$folder/wheels" "$folder/versions"
    "$python" -m pip install --quiet --no-cache-dir --no-deps --only-binary :all: \
        --target "$folder/wheels" "${wheels[@]}" >&2
    echo "${wheels[*]}" > "$folder/versions"
fi
lay_out
forwarder
write_env
"$folder/bin/nvcc" --version | grep release >&2
echo "$folder/env"
